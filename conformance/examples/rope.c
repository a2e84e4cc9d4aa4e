/* A complete target for `ropecore conformance --command`: RoPE in C, float32, for every plan of rope.md, with the JSON it needs.
 *
 *     gcc -O2 -o rope conformance/examples/rope.c -lm
 *     ropecore conformance --command ./rope
 *
 * To test code of your own, keep everything but `cos_sin` and `rotate`. With -DFLIP_SIGN it is wrong, to see how that looks. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FLIP_SIGN
#define SIGN (-1)
#else
#define SIGN 1
#endif
#define TWO_PI 6.283185307179586476925286766559

static const char *STARTED =
    "{\"protocol\": \"ropecore-command/1\", \"name\": \"rope.c\", \"version\": \"1\", \"language\": \"C\", \"capabilities\": {"
    "\"dtypes\": [\"float32\"], \"angle\": \"exact\", \"table\": \"float32\", \"compute\": \"float32\", "
    "\"not_applicable\": {\"refusals\": \"this example trusts its caller\"}}}\n";

/* ---- JSON: a line becomes a tree of nodes, each with its first child and its next sibling */

typedef struct Node {
    char type;        /* 'n' null, 't' true, 'f' false, '0' number, 's' string, 'a' array, 'o' object */
    const char *text; /* of a string, without its quotes */
    const char *key;  /* in an object */
    double number;    /* of a number, and of the strings "NaN", "Infinity" and "-Infinity" */
    int size;         /* of an array or an object */
    struct Node *child, *next;
} Node;

static char *cursor;
static Node *pool; /* of the line at hand */

static void fail(const char *what) {
    fprintf(stderr, "rope.c: %s\n", what);
    exit(1);
}

static void *memory(size_t count, size_t size) {
    void *block = calloc(count + 1, size);
    if (!block) fail("out of memory");
    return block;
}

static void spaces(void) { cursor += strspn(cursor, " \t\r\n"); }

static int take(char c) {
    spaces();
    if (*cursor != c) return 0;
    cursor++;
    return 1;
}

static void expect(char c) {
    if (!take(c)) fail("this is no JSON");
}

/* Nothing that this program reads has an escape in it: a backslash only keeps the next character from ending the string. */
static const char *string(void) {
    expect('"');
    char *start = cursor;
    while (*cursor != '"') {
        if (*cursor == '\\') cursor++;
        if (!*cursor++) fail("a string has no end");
    }
    *cursor++ = 0;
    return start;
}

static Node *value(void);

static void members(Node *node, char end) {
    Node **last = &node->child;
    if (take(end)) return;
    do {
        const char *key = NULL;
        if (end == '}') {
            key = string();
            expect(':');
        }
        *last = value();
        (*last)->key = key;
        last = &(*last)->next;
        node->size++;
    } while (take(','));
    expect(end);
}

static Node *value(void) {
    Node *node = pool++; /* there are fewer values than characters */
    spaces();
    node->type = *cursor;
    if (take('{')) {
        node->type = 'o';
        members(node, '}');
    } else if (take('[')) {
        node->type = 'a';
        members(node, ']');
    } else if (*cursor == '"') {
        node->type = 's';
        node->text = string();
        node->number = strtod(node->text, NULL);
    } else if (strchr("ntf", *cursor) && *cursor) {
        cursor += *cursor == 'f' ? 5 : 4;
    } else {
        char *start = cursor;
        node->type = '0';
        node->number = strtod(start, &cursor);
        if (cursor == start) fail("this is no JSON");
    }
    return node;
}

static const Node *get(const Node *object, const char *key) {
    for (const Node *node = object->child; node; node = node->next)
        if (!strcmp(node->key, key)) return node;
    fail(key);
    return NULL;
}

static int is(const Node *node, const char *text) { return node->type == 's' && !strcmp(node->text, text); }

/* The numbers of an array of numbers, or of arrays of numbers; the caller frees them. */
static double *numbers(const Node *array) {
    double *all = NULL;
    size_t count = 0;
    for (const Node *node = array->child; node; node = node->next) count += node->type == 'a' ? (size_t)node->size : 1;
    double *end = all = memory(count, sizeof *all);
    for (const Node *node = array->child; node; node = node->next) {
        if (node->type != 'a') *end++ = node->number;
        for (const Node *inner = node->child; inner; inner = inner->next) *end++ = inner->number;
    }
    return all;
}

/* ---- RoPE */

typedef struct {
    int axes, rows;
    double A, centre, *read, *write, *F, *m; /* lanes of each row; F is rows times axes; m is NULL without a magnitude */
    const Node *kinds;
} Plan;

/* round(F / (2 pi) * 2^64) mod 2^64: turns for each unit of position, as 64 bits behind the point. F = m * 2^(e - 53)
 * with an integer m, and 1 / (2 pi) is known to 192 bits: their product is cut where it is needed. */
static uint64_t turns(double F) {
    static const uint64_t inverse[3] = {0x36d8a5664f10e410, 0x7f09d5f47d4d3770, 0x28be60db9391054a};
    unsigned __int128 carry = 0;
    uint64_t product[5] = {0};
    int e;
    uint64_t m = (uint64_t)ldexp(frexp(fabs(F), &e), 53);
    int shift = 180 - e; /* one bit is left behind the point, to round by */
    if (m == 0 || shift >= 256) return 0;
    for (int i = 0; i < 3; i++) {
        carry += (unsigned __int128)m * inverse[i];
        product[i] = (uint64_t)carry;
        carry >>= 64;
    }
    product[3] = (uint64_t)carry;
    unsigned __int128 two = (unsigned __int128)product[shift / 64 + 1] << 64 | product[shift / 64];
    uint64_t f = (uint64_t)(((two >> shift % 64) + 1) >> 1);
    return F < 0 ? -f : f;
}

/* cos and sin of the angle of a row at a position, one number an axis. Whole turns fall off the unsigned product by themselves,
 * so that the sine never sees a large argument. */
static void cos_sin(const Plan *plan, int row, const double *position, double *c, double *s) {
    uint64_t phase = 0;
    const Node *kind = plan->kinds->child;
    for (int a = 0; a < plan->axes; a++, kind = kind->next) {
        double F = plan->F[row * plan->axes + a];
        if (is(kind, "real")) {
            double t = position[a] * (F / TWO_PI);
            phase += (uint64_t)(int64_t)rint((t - rint(t)) * 0x1p63) * 2;
        } else {
            int32_t p = (int32_t)(uint32_t)(int64_t)position[a]; /* */
            phase += (uint64_t)(int64_t)p * turns(F);
        }
    }
    double angle = (double)(int64_t)phase * (TWO_PI * 0x1p-64);
    *c = cos(angle);
    *s = SIGN * sin(angle);
}

/* for one vector; the transpose and the inverse are. y holds x already. */
static void rotate(const Plan *plan, const Node *mode, int is_q, const double *position, const double *x, float *y) {
    int forward = is(mode, "forward");
    const double *from = forward ? plan->read : plan->write, *to = forward ? plan->write : plan->read;
    for (int j = 0; j < plan->rows; j++) {
        double c, s, scale = plan->A;
        cos_sin(plan, j, position, &c, &s);
        if (plan->m) scale *= exp((is_q ? 1 : -1) * plan->m[j] * (position[0] - plan->centre));
        if (is(mode, "inverse")) scale = 1 / scale;
        float cosine = (float)(scale * c), sine = (float)(forward ? scale * s : -(scale * s));
        float x0 = (float)x[(int)from[2 * j]], x1 = (float)x[(int)from[2 * j + 1]];
        y[(int)to[2 * j]] = x0 * cosine - x1 * sine;
        y[(int)to[2 * j + 1]] = x0 * sine + x1 * cosine;
    }
}

static Plan read_plan(const Node *node) {
    Plan plan = {.axes = get(node, "axes")->size, .rows = get(node, "lanes")->size};
    plan.A = get(node, "attention_factor")->number;
    plan.centre = get(node, "centre")->number;
    plan.kinds = get(node, "axis_kinds");
    plan.read = numbers(get(node, "lanes"));
    plan.write = numbers(get(node, "out_lanes"));
    plan.F = numbers(get(node, "frequencies"));
    plan.m = get(node, "log_magnitude")->type == 'a' ? numbers(get(node, "log_magnitude")) : NULL;
    return plan;
}

/* ---- one question: which position has each vector of the tensor, and its rotation */

static void print_number(float y) {
    if (isnan(y)) printf("\"NaN\"");
    else if (isinf(y)) printf(y > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else printf("%.9g", y); /* nine digits give a float back */
}

typedef struct {
    int given, rows, tokens; /* rows: 1 for all of the batch, or one each */
    double *data;
} Positions;

static Positions read_positions(const Node *question, int axes, int tokens) {
    const Node *given = get(question, "positions"), *offset = get(question, "offset");
    Positions p = {.given = given->type == 'o', .rows = 1, .tokens = tokens};
    if (p.given) {
        p.data = numbers(get(given, "data"));
        if (tokens) p.rows = get(given, "data")->size / (axes * tokens);
    } else if (offset->type == 'a') {
        p.data = numbers(offset);
        p.rows = offset->size;
    } else {
        p.data = memory(1, sizeof *p.data);
        p.data[0] = offset->number; /* 0 for null */
    }
    return p;
}

/* The position of a token on an axis: as given, or offset + token. */
static double coordinate(const Positions *p, int axis, int batch, int token) {
    int row = p->rows > 1 ? batch : 0;
    return p->given ? p->data[(axis * p->rows + row) * p->tokens + token] : p->data[row] + token;
}

static void run(const Node *question) {
    const Node *x = get(question, "x"), *size = get(x, "shape")->child;
    const char *letters = get(question, "tensor_format")->text;
    int sizes[16], rank = 0, tokens = 0, vectors = 1;
    for (; size && rank < 16; size = size->next) sizes[rank++] = (int)size->number;
    for (int i = 0; i < rank - 1; i++) {
        vectors *= sizes[i];
        if (strchr("st", letters[i])) tokens = sizes[i];
    }
    Plan plan = read_plan(get(question, "plan"));
    Positions positions = read_positions(question, plan.axes, tokens);
    int head_dim = sizes[rank - 1];
    double *in = numbers(get(x, "data")), *position = memory((size_t)plan.axes, sizeof *position);
    float *out = memory((size_t)head_dim, sizeof *out);

    printf("{\"id\": %.0f, \"y\": {\"shape\": [", get(question, "id")->number);
    for (int i = 0; i < rank; i++) printf("%s%d", i ? ", " : "", sizes[i]);
    printf("], \"data\": [");
    for (int v = 0; v < vectors; v++) {
        int batch = 0, token = 0;
        for (int i = rank - 2, rest = v; i >= 0; rest /= sizes[i--]) {
            if (letters[i] == 'b') batch = rest % sizes[i];
            if (strchr("st", letters[i])) token = rest % sizes[i];
        }
        for (int a = 0; a < plan.axes; a++) position[a] = coordinate(&positions, a, batch, token);
        for (int i = 0; i < head_dim; i++) out[i] = (float)in[v * head_dim + i];
        rotate(&plan, get(question, "mode"), is(get(question, "role"), "q"), position, in + v * head_dim, out);
        for (int i = 0; i < head_dim; i++) {
            if (v || i) printf(", ");
            print_number(out[i]);
        }
    }
    printf("]}}\n");
    free(plan.read), free(plan.write), free(plan.F), free(plan.m), free(positions.data);
    free(in), free(position), free(out);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        Node *nodes = pool = memory((size_t)length, sizeof *nodes);
        cursor = line;
        const Node *message = value(), *command = get(message, "command");
        int stop = is(command, "stop");
        if (is(command, "start")) fputs(STARTED, stdout);
        else if (is(command, "run")) run(message);
        else if (!stop) fail("what command is this?");
        fflush(stdout); /* an answer that stays in a buffer is none */
        free(nodes);
        if (stop) break;
    }
    free(line);
    return 0;
}
