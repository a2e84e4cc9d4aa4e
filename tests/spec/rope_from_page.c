/* RoPE written from spec/rope.md alone, to test that the page is enough. Words on stdin, separated by white space; a line of
 * numbers on stdout for each vector or rule. Rules of the page are cited as R-n.m; what it asks to be refused ends the program.
 *
 *   rotate BITS MODE ROLE D N A CENTRE MAGNITUDE KIND.. ROWS (r0 r1 w0 w1 F.. [m])..  VECTORS (p.. x..)..
 *       BITS 32 or 64, MODE forward|inverse|transpose, ROLE q|k, D lanes, N axes, MAGNITUDE 0 or 1 (is there an m in each row),
 *       KIND integer|real, one an axis                                                      ->  y, one line a vector
 *   frequencies R d SOURCE RULE..                                                            ->  A g_0 g_1 ..
 *       SOURCE  base b  |  list b f_0 ..  (b: the base that yarn needs; any number otherwise)
 *       RULE    none  |  llama3 s low high L  |  yarn s L beta_fast beta_slow truncate mscale mscale_all_dim attention_factor
 *               ("-" for one of the last three that is not given)
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_AXES 16
#ifdef FLIP_SIGN
#define SIGN (-1)
#else
#define SIGN 1
#endif
static const long double TWO_PI = 6.283185307179586476925286766559005768394L;

static void refuse(const char *what) { fprintf(stderr, "refused: %s\n", what); exit(1); }

static const char *word(void) {
    static char text[128];
    if (scanf("%127s", text) != 1) refuse("input ends early");
    return text;
}

static double number(const char *text) {
    char *end;
    double value = strtod(text, &end); /* reads NaN and Infinity too */
    if (*end) refuse("not a number");
    return value;
}

static long integer(long low, long high) {
    char *end;
    const char *text = word();
    long value = strtol(text, &end, 10);
    if (*end || value < low || value > high) refuse("not an integer, or out of range");
    return value;
}

static int is(const char *text, const char *yes, const char *no) {
    if (strcmp(text, yes) && strcmp(text, no)) refuse(text);
    return !strcmp(text, yes);
}

/* round(F / (2 pi) * 2^bits) mod 2^bits, as 32-bit limbs from the lowest. F = m * 2^e with an integer m; m / (2 pi) is
 * the product of m and 256 bits of 1 / (2 pi), in ten limbs, of which `bits` are cut out after rounding. */
static void turns(double F, int bits, uint32_t *out) {
    static const uint32_t inverse[8] = {0xf7aef158, 0x7f9458ea, 0x4f10e410, 0x36d8a566,
                                        0x7d4d3770, 0x7f09d5f4, 0x9391054a, 0x28be60db};
    uint32_t product[12] = {0};
    int e, count = bits / 32;
    uint64_t m = (uint64_t)ldexp(frexp(fabs(F), &e), 53);
    int shift = 256 - bits - (e - 53); /* at least 182, since |F| <= 2^30 */
    memset(out, 0, sizeof *out * (size_t)count);
    if (m == 0 || shift > 310) return; /* below half a unit: m has 53 bits, 1 / (2 pi) 254 */
    for (int half = 0; half < 2; half++) { /* schoolbook multiplication by the two halves of m */
        uint64_t carry = 0, factor = half ? m >> 32 : m & 0xffffffff;
        for (int i = 0; i < 8 || carry; i++) {
            carry += product[i + half] + (i < 8 ? factor * inverse[i] : 0);
            product[i + half] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    for (uint64_t i = (uint64_t)(shift - 1) / 32, carry = 1ull << (shift - 1) % 32; carry && i < 12; i++) { /* to nearest */
        carry += product[i];
        product[i] = (uint32_t)carry;
        carry >>= 32;
    }
    uint64_t borrow = 1; /* of -F, the two's complement */
    for (int i = 0; i < count; i++) {
        int at = shift / 32 + i;
        uint64_t low = at < 12 ? product[at] : 0, high = at + 1 < 12 ? product[at + 1] : 0;
        out[i] = (uint32_t)((high << 32 | low) >> shift % 32);
        if (F < 0) {
            borrow += (uint32_t)~out[i];
            out[i] = (uint32_t)borrow;
            borrow >>= 32;
        }
    }
}

typedef struct { long r0, r1, w0, w1; double F[MAX_AXES], m; uint32_t f[MAX_AXES][2], g[MAX_AXES][3]; } Row;
typedef struct { int real[MAX_AXES], magnitude; long D, axes, rows; double A, centre; Row *row; } Plan;
typedef struct { int64_t whole; double real; } Coordinate;

/* float32: a phase in 2^-32 turns, then the polynomial. Signed >> rounds down in every compiler in use. */
static void cos_sin_32(const Plan *plan, const Row *row, const Coordinate *p, float *c, float *s) {
    uint32_t phase = 0;
    for (int a = 0; a < plan->axes; a++) {
        int64_t fl = row->f[a][0], fh = row->f[a][1];
        if (plan->real[a]) {
            float t = (float)(p[a].real * (float)(row->F[a] / TWO_PI)); /* rounded once: p may be no float */
            if (!isfinite(t)) refuse("real coordinate");
            phase += (uint32_t)(int64_t)rintf((t - rintf(t)) * 0x1p32f);
        } else {
            phase += (uint32_t)(p[a].whole * fh + ((p[a].whole * fl) >> 32));
        }
    }
    int64_t q = ((int64_t)phase + (1 << 29)) >> 30, r = (int64_t)phase - q * (1 << 30);
    float x = (float)r * 0x1p-29f, z = x * x;
    float S0 = 0x1.921fb6p-1f, T0 = -0x1.77895p-26f, S1 = -0x1.4abbcep-4f, S2 = 0x1.466bbap-9f, S3 = -0x1.32ca9ep-15f;
    float S4 = 0x1.4bc85cp-22f, C1 = -0x1.3bd3ccp-2f, C2 = 0x1.03c1dcp-6f, C3 = -0x1.55c57ap-12f, C4 = 0x1.d9c2e8p-19f;
    float sine = x * (S0 + (T0 + z * (S1 + z * (S2 + z * (S3 + z * S4)))));
    float cosine = 1 + z * (C1 + z * (C2 + z * (C3 + z * C4)));
    *c = q % 4 == 0 ? cosine : q % 4 == 1 ? -sine : q % 4 == 2 ? -cosine : sine;
    *s = q % 4 == 0 ? sine : q % 4 == 1 ? cosine : q % 4 == 2 ? -sine : -cosine;
}

/* float64: a phase in 2^-64 turns, and the library's sine of what is left of a quarter turn. */
static void cos_sin_64(const Plan *plan, const Row *row, const Coordinate *p, double *c, double *s) {
    uint64_t phase = 0;
    for (int a = 0; a < plan->axes; a++) {
        int64_t g0 = row->g[a][0], g1 = row->g[a][1], g2 = row->g[a][2], whole = p[a].whole;
        if (plan->real[a]) {
            long double t = p[a].real * (row->F[a] / TWO_PI);
            if (!isfinite(t)) refuse("real coordinate");
            phase += (uint64_t)(__int128)rintl((t - rintl(t)) * 0x1p64L);
        } else {
            int64_t t = whole * g1 + ((whole * g0) >> 32);
            phase += ((uint64_t)(whole * g2 + (t >> 32)) << 32) + (uint32_t)t;
        }
    }
    uint64_t q = (phase + (1ull << 61)) >> 62; /* modulo 4 */
    double x = (double)(int64_t)(phase - (q << 62)) * 0x1.921fb54442d18p-62; /* pi * 2^-63 */
    double sine = sin(x), cosine = cos(x);
    *c = q == 0 ? cosine : q == 1 ? -sine : q == 2 ? -cosine : sine;
    *s = q == 0 ? sine : q == 1 ? cosine : q == 2 ? -sine : -cosine;
}

/* One vector: and, for the transpose and the inverse, R-9.2 and. In float32 every value is a float. */
static void rotate(const Plan *plan, int bits, char mode, int is_q, const Coordinate *p, const double *x, double *y) {
    memcpy(y, x, sizeof *y * (size_t)plan->D); /* */
    for (const Row *row = plan->row; row < plan->row + plan->rows; row++) {
        double exponent = 0;
        long in0 = row->r0, in1 = row->r1, out0 = row->w0, out1 = row->w1;
        if (mode != 'f') in0 = row->w0, in1 = row->w1, out0 = row->r0, out1 = row->r1;
        if (plan->magnitude) {
            double distance = (plan->real[0] ? p->real : (double)p->whole) - plan->centre;
            exponent = bits == 32 ? (double)((float)row->m * (float)distance) : row->m * distance;
            if (!(fabs(row->m * distance) <= 100 * log(2))) refuse("magnitude");
            if (!is_q) exponent = -exponent;
        }
        if (bits == 32) {
            float c, s, scale = (float)plan->A * (plan->magnitude ? expf((float)exponent) : 1);
            float x0 = (float)x[in0], x1 = (float)x[in1];
            cos_sin_32(plan, row, p, &c, &s);
            if (mode == 'i') scale = 1 / scale;
            c *= scale, s *= scale * (mode == 'f' ? SIGN : -SIGN);
            y[out0] = x0 * c - x1 * s;
            y[out1] = x0 * s + x1 * c;
        } else {
            double c, s, scale = plan->A * exp(exponent), x0 = x[in0], x1 = x[in1];
            cos_sin_64(plan, row, p, &c, &s);
            if (mode == 'i') scale = 1 / scale;
            c *= scale, s *= scale * (mode == 'f' ? SIGN : -SIGN);
            y[out0] = x0 * c - x1 * s;
            y[out1] = x0 * s + x1 * c;
        }
    }
}

static void *array(long count, size_t size) {
    void *p = calloc((size_t)count + 1, size);
    if (!p) refuse("memory");
    return p;
}

static void run_rotate(void) {
    Plan plan;
    Coordinate p[MAX_AXES] = {{0, 0}};
    int bits = (int)integer(32, 64);
    char mode = *word();
    int is_q = is(word(), "q", "k");
    plan.D = integer(1, 1 << 20), plan.axes = integer(1, MAX_AXES);
    plan.A = number(word()), plan.centre = number(word()), plan.magnitude = (int)integer(0, 1);
    if (!(plan.A > 0 && isfinite(plan.A))) refuse("attention_factor"); /* */
    if ((bits != 32 && bits != 64) || !strchr("fit", mode)) refuse("BITS or MODE");
    if (plan.magnitude && plan.axes != 1) refuse("log_magnitude"); /* */
    for (int a = 0; a < plan.axes; a++) plan.real[a] = is(word(), "real", "integer");
    plan.rows = integer(0, plan.D / 2);
    plan.row = array(plan.rows, sizeof *plan.row);
    char *used = array(plan.D, 1);
    for (Row *row = plan.row; row < plan.row + plan.rows; row++) {
        long *lane[4] = {&row->r0, &row->r1, &row->w0, &row->w1};
        for (int i = 0; i < 4; i++) { /* */
            char bit = i < 2 ? 1 : 2;
            *lane[i] = integer(0, plan.D - 1);
            if (used[*lane[i]] & bit) refuse("lane used twice");
            used[*lane[i]] |= bit;
        }
        for (int a = 0; a < plan.axes; a++) {
            row->F[a] = number(word());
            if (!(fabs(row->F[a]) <= 0x1p30)) refuse("frequency"); /* */
            turns(row->F[a], 64, row->f[a]);
            turns(row->F[a], 96, row->g[a]);
        }
        row->m = plan.magnitude ? number(word()) : 0;
    }
    for (long i = 0; i < plan.D; i++) if (used[i] == 1 || used[i] == 2) refuse("lanes written are not the lanes read");
    double *x = array(plan.D, sizeof *x), *y = array(plan.D, sizeof *y);
    for (long left = integer(0, 1L << 30); left; left--) {
        for (int a = 0; a < plan.axes; a++) {
            if (plan.real[a]) p[a].real = number(word());
            else p[a].whole = integer(-0x7fffffffL, 0x7fffffffL); /* : a float is refused */
        }
        for (long i = 0; i < plan.D; i++) x[i] = number(word());
        rotate(&plan, bits, mode, is_q, p, x, y);
        for (long i = 0; i < plan.D; i++) printf("%.17g%c", y[i], i + 1 < plan.D ? ' ' : '\n');
    }
    free(plan.row), free(used), free(x), free(y);
}

/* Chapter 5. */
static long double ms(long double s, long double m) { return s <= 1 ? 1 : 0.1L * m * logl(s) + 1; }
static long double clip(long double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

static long double yarn(long double *f, long pairs, long double d, long double b) { /* returns A */
    double s = number(word()), L = number(word()), beta_fast = number(word()), beta_slow = number(word());
    long truncate = integer(0, 1);
    double given[3] = {0, 0, 0}; /* mscale, mscale_all_dim, attention_factor; 0 is as good as none for the first two */
    int has_factor = 0;
    for (int i = 0; i < 3; i++) {
        const char *text = word();
        if (strcmp(text, "-")) given[i] = number(text), has_factor = i == 2;
    }
    if (!(s >= 1 && beta_fast > beta_slow && beta_slow > 0 && b > 1 && L > 0)) refuse("yarn");
    long double low = d * logl(L / (TWO_PI * beta_fast)) / (2 * logl(b));
    long double high = d * logl(L / (TWO_PI * beta_slow)) / (2 * logl(b));
    if (truncate) low = floorl(low), high = ceill(high);
    low = fmaxl(low, 0), high = fminl(high, d - 1);
    if (low > high) refuse("yarn: empty range");
    if (low == high) high += 0.001L;
    for (long j = 0; j < pairs; j++) {
        long double ramp = clip((j - low) / (high - low));
        f[j] = f[j] / s * ramp + f[j] * (1 - ramp);
    }
    if (has_factor) return given[2];
    return given[0] != 0 && given[1] != 0 ? ms(s, given[0]) / ms(s, given[1]) : ms(s, 1);
}

static void llama3(long double *f, long pairs) { /* */
    double s = number(word()), low = number(word()), high = number(word()), L = number(word());
    if (!(s >= 1 && high >= low && low > 0 && L > 0)) refuse("llama3");
    for (long j = 0; j < pairs; j++) {
        long double turns_in_L = L * f[j] / TWO_PI; /* L / w_j: none where f_j is 0 or negative, which are stretched */
        if (turns_in_L > high) continue;
        long double sigma = turns_in_L < low || low == high ? 0 : (turns_in_L - low) / ((long double)high - low);
        f[j] = (1 - sigma) * f[j] / s + sigma * f[j];
    }
}

static void run_frequencies(void) {
    long pairs = integer(2, 1 << 20) / 2, d = integer(1, 1 << 20);
    int is_list = is(word(), "list", "base");
    long double b = number(word()), A = 1, *f = array(pairs, sizeof *f);
    if (!is_list && !(b > 0 && isfinite(b))) refuse("base");
    for (long j = 0; j < pairs; j++) f[j] = is_list ? number(word()) : powl(b, -2.0L * j / d); /* */
    const char *rule = word();
    if (!strcmp(rule, "yarn")) A = yarn(f, pairs, d, b);
    else if (!strcmp(rule, "llama3")) llama3(f, pairs);
    else if (strcmp(rule, "none")) refuse(rule);
    printf("%.17g", (double)A);
    for (long j = 0; j < pairs; j++) printf(" %.17g", (double)f[j]);
    printf("\n");
    free(f);
}

int main(void) {
    char command[128];
    while (scanf("%127s", command) == 1) {
        if (is(command, "rotate", "frequencies")) run_rotate();
        else run_frequencies();
    }
    return 0;
}
