// Rotary position embedding in one pass: phase, polynomial and rotation (rope.md R-2.1, R-10.2 to R-10.4).
//
// Each element is read once and written once, 16 bytes at a time where its lanes allow it.  cos and sin come from integer
// phases and a polynomial: no library sine, no large argument, no table.  Products and sums are rounded one by one and never
// contracted, so that the bits are those of the NumPy adapter.
//
// Compiled for one dtype of x: ROPE_FLOAT16, ROPE_BFLOAT16, ROPE_FLOAT32 or ROPE_FLOAT64 is defined, and for 16 bits
// ROPE_COMPUTE_INPUT where compute="input".  C++17 without headers, for NVRTC, nvcc, and g++ behind a shim.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define ROPE_INLINE __device__ __forceinline__

// ---- Numbers: how an element is stored, and what it is computed in

ROPE_INLINE float mul(float a, float b) { return __fmul_rn(a, b); }
ROPE_INLINE float add(float a, float b) { return __fadd_rn(a, b); }
ROPE_INLINE float sub(float a, float b) { return __fsub_rn(a, b); }
ROPE_INLINE double mul(double a, double b) { return __dmul_rn(a, b); }
ROPE_INLINE double add(double a, double b) { return __dadd_rn(a, b); }
ROPE_INLINE double sub(double a, double b) { return __dsub_rn(a, b); }
ROPE_INLINE float nearest_integer(float a) { return rintf(a); }
ROPE_INLINE double nearest_integer(double a) { return rint(a); }
ROPE_INLINE double as_double(u64 bits) { return __longlong_as_double((i64)bits); }

#if defined(ROPE_FLOAT64)

typedef double Stored;
typedef double Number;
ROPE_INLINE double widen(double value) { return value; }
ROPE_INLINE double narrow(double value) { return value; }

#elif defined(ROPE_FLOAT32)

typedef float Stored;
typedef float Number;
ROPE_INLINE float widen(float value) { return value; }
ROPE_INLINE float narrow(float value) { return value; }

#elif defined(ROPE_BFLOAT16)

typedef u16 Stored;  // the upper half of a float32
typedef float Number;
ROPE_INLINE float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }
ROPE_INLINE u16 narrow(float value) {
  const u32 bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)(bits >> 16 | 0x40u);  // NaN stays one
  return (u16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);                  // to nearest, ties to even
}

#elif defined(ROPE_FLOAT16)

typedef u16 Stored;  // the bits of a float16
typedef float Number;
#if defined(__CUDA_ARCH__)  // the device converts in one instruction, by the same rounding
ROPE_INLINE float widen(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
ROPE_INLINE u16 narrow(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#else
ROPE_INLINE float widen(u16 bits) {
  const u32 sign = (bits & 0x8000u) << 16, size = bits & 0x7fffu;
  if (size < 0x400u) {  // a subnormal: size units of 2^-24
    const float value = mul((float)size, 0x1p-24f);
    return sign ? -value : value;
  }
  return __uint_as_float(sign | ((size << 13) + (size < 0x7c00u ? 0x38000000u : 0x70000000u)));
}
ROPE_INLINE u16 narrow(float value) {
  const u32 bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return (u16)(sign | 0x7e00u);   // NaN
  if (size >= 0x47800000u) return (u16)(sign | 0x7c00u);  // 2^16 and more: infinity
  if (size < 0x38800000u)                                 // below 2^-14: units of 2^-24
    return (u16)(sign | (u32)rintf(mul(__uint_as_float(size), 0x1p24f)));
  return (u16)(sign | (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13);  // to nearest, ties to even
}
#endif

#else
#error "define ROPE_FLOAT16, ROPE_BFLOAT16, ROPE_FLOAT32 or ROPE_FLOAT64"
#endif

// What an operation keeps: everything, or what fits in the dtype of x (compute="input", R-10.4).
#if defined(ROPE_COMPUTE_INPUT)
ROPE_INLINE Number kept(Number value) { return widen(narrow(value)); }
#else
ROPE_INLINE Number kept(Number value) { return value; }
#endif

// ---- Angles in fixed point (R-10.2): a phase is a number of 2^-32 or 2^-64 turns, and whole turns drop out by themselves

struct Turn {
  Number cos, sin;
};

// cos and sin of a phase in 2^-32 turns, each within 1.2e-7 (measured: 9.0e-8 over all phases).
ROPE_INLINE void cos_sin_of(u32 phase, float& cos, float& sin) {
  const u32 quarter = (phase + (1u << 29)) >> 30;
  const float x = mul((float)(int)(phase - (quarter << 30)), 0x1p-29f);
  const float z = mul(x, x);
  float s = add(-0x1.32ca9ep-15f, mul(z, 0x1.4bc85cp-22f));
  s = add(0x1.466bbap-9f, mul(z, s));
  s = add(-0x1.4abbcep-4f, mul(z, s));
  s = mul(x, add(0x1.921fb6p-1f, add(-0x1.77895p-26f, mul(z, s))));
  float c = add(-0x1.55c57ap-12f, mul(z, 0x1.d9c2e8p-19f));
  c = add(0x1.03c1dcp-6f, mul(z, c));
  c = add(-0x1.3bd3ccp-2f, mul(z, c));
  c = add(1.0f, mul(z, c));
  cos = quarter & 1u ? s : c;
  sin = quarter & 1u ? c : s;
  if ((quarter + 1u) & 2u) cos = -cos;
  if (quarter & 2u) sin = -sin;
}

// 1 / 2 pi, from the point on.
__device__ const u32 kPerTurn[6] = {0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u};

// The phase of a float32 angle, exact to 2^-40 turns (R-10.3).  angle = m * 2^e: of 1 / 2 pi, the e bits before the point
// make whole turns, and of those after it 64 are enough.
ROPE_INLINE u32 phase_of(float angle) {
  const u32 bits = __float_as_uint(angle), exponent = bits >> 23 & 0xffu;
  const u64 m = (bits & 0x7fffffu) | (exponent ? 0x800000u : 0u);
  const int e = (int)(exponent ? exponent : 1u) - 150;
  const int word = e > 0 ? e >> 5 : 0, shift = e & 31;
  const u64 two = (u64)kPerTurn[word] << 32 | kPerTurn[word + 1];
  const u64 window = e > 0 ? (two << shift) | ((u64)kPerTurn[word + 2] << shift >> 32) : e > -64 ? two >> -e : 0;
  const u32 phase = (u32)(m * window >> 32);
  return bits >> 31 ? 0u - phase : phase;
}

#if !defined(ROPE_FLOAT64)

typedef u32 Phase;
struct Frequency {
  u64 turns;  // F / 2 pi modulo 1 in 2^-64 turns; on a real axis, and in the float32 class, the bits of a double
};

ROPE_INLINE Phase phase_at(int position, Frequency f) {
  const u32 p = (u32)position, high = (u32)(f.turns >> 32), low = (u32)f.turns;
  return p * high + (u32)((u64)p * low >> 32) - (position < 0 ? low : 0u);
}

ROPE_INLINE Phase phase_at(float coordinate, Frequency f) {
  const float turns = mul(coordinate, (float)as_double(f.turns));
  const float units = nearest_integer(mul(sub(turns, nearest_integer(turns)), 0x1p32f));
  return units == units ? (u32)(i64)units : 0u;
}

#else

typedef u64 Phase;
struct Frequency {
  u64 turns, finer;  // F / 2 pi modulo 1 in 2^-64 turns, and 32 bits more
};

ROPE_INLINE Phase phase_at(int position, Frequency f) {
  return (u64)(i64)position * f.turns + (u64)((i64)position * (i64)f.finer >> 32);
}

ROPE_INLINE Phase phase_at(double coordinate, Frequency f) {
  const double turns = mul(coordinate, as_double(f.turns));
  const double units = nearest_integer(mul(sub(turns, nearest_integer(turns)), 0x1p63));
  return units == units ? (u64)(i64)units << 1 : 0u;
}

// cos and sin of a phase in 2^-64 turns, each within 2^-52 (measured: 1.64e-16): Taylor's series up to an eighth of a turn,
// where the first term left out is below 2^-58.  The largest term is added last, and what 1 - z / 2 loses is put back.
ROPE_INLINE void cos_sin_of(u64 phase, double& cos, double& sin) {
  const u64 quarter = (phase + (1ull << 61)) >> 62;
  const double x = mul(mul((double)(i64)(phase - (quarter << 62)), 0x1p-62), 0x1.921fb54442d18p+0);
  const double z = mul(x, x);
  double s = add(-1.0 / 1307674368000.0, mul(z, 1.0 / 355687428096000.0));
  s = add(1.0 / 6227020800.0, mul(z, s));
  s = add(-1.0 / 39916800.0, mul(z, s));
  s = add(1.0 / 362880.0, mul(z, s));
  s = add(-1.0 / 5040.0, mul(z, s));
  s = add(1.0 / 120.0, mul(z, s));
  s = add(-1.0 / 6.0, mul(z, s));
  s = add(x, mul(mul(x, z), s));
  double c = add(-1.0 / 87178291200.0, mul(z, 1.0 / 20922789888000.0));
  c = add(1.0 / 479001600.0, mul(z, c));
  c = add(-1.0 / 3628800.0, mul(z, c));
  c = add(1.0 / 40320.0, mul(z, c));
  c = add(-1.0 / 720.0, mul(z, c));
  c = add(1.0 / 24.0, mul(z, c));
  const double half = mul(0.5, z), most = sub(1.0, half);
  c = add(most, add(sub(sub(1.0, most), half), mul(mul(z, z), c)));
  cos = quarter & 1u ? s : c;
  sin = quarter & 1u ? c : s;
  if ((quarter + 1u) & 2u) cos = -cos;
  if (quarter & 2u) sin = -sin;
}

#endif

// ---- Where cos and sin of a pair come from: positions, or tables

struct Places {
  const i64* words;  // coordinates: integers, or the bits of a double on a real axis; null for none
  i64 axis_stride, batch_stride, token_stride;
  i64 start, step;              // added to integers: start + step * token
  const Frequency* frequency;   // (axes, pairs)
  const int* real;              // (axes): whether the axis is real
  const double* log_magnitude;  // (pairs), or null (R-2.4)
  i64 axes, pairs;
  i64 single;  // whether angles are float32(p) * float32(F) (R-10.3)
  double factor, centre, sign;

  template <int kPairs>
  __device__ __forceinline__ void turns(i64 batch, i64 token, int pair, Turn (&turn)[kPairs]) const {
    Phase phase[kPairs] = {};
    float angle[kPairs] = {};
    double place = 0;   // for a magnitude, whose plan has one axis
    Number finite = 0;  // NaN, and so are the results, where a coordinate is not finite
#pragma unroll 1
    for (i64 axis = 0; axis < axes; ++axis) {
      const u64 word = words ? (u64)words[axis * axis_stride + batch * batch_stride + token * token_stride] : 0;
      const Frequency* f = frequency + axis * pairs + pair;
      if (real[axis]) {
        place = words ? as_double(word) : (double)start;
        finite = add(finite, sub((Number)place, (Number)place));
        advance((Number)place, f, phase, angle);
      } else {
        const int position = (int)(u32)(word + (u64)start + (u64)(step * token));  // wraps modulo 2^32 (R-7.1)
        place = (double)position;
        advance(position, f, phase, angle);
      }
    }
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      const Number scale = log_magnitude ? (Number)mul(factor, magnitude(pair + k, place)) : (Number)factor;
      finish(phase[k], angle[k], add(scale, finite), turn[k]);
    }
  }

  template <int kPairs, class Coordinate>
  __device__ __forceinline__ void advance(Coordinate p, const Frequency* f, Phase (&phase)[kPairs],
                                          float (&angle)[kPairs]) const {
#pragma unroll
    for (int k = 0; k < kPairs; ++k) {
      if (single)
        angle[k] = add(angle[k], mul((float)p, (float)as_double(f[k].turns)));
      else
        phase[k] += phase_at(p, f[k]);
    }
  }

  __device__ __forceinline__ void finish(Phase phase, float angle, Number scale, Turn& turn) const {
    if (single) {
      float cos, sin;
      cos_sin_of(phase_of(angle), cos, sin);
      turn.cos = mul(cos, (float)scale), turn.sin = mul(sin, (float)scale);
    } else {
      cos_sin_of(phase, turn.cos, turn.sin);
      turn.cos = mul(turn.cos, scale), turn.sin = mul(turn.sin, scale);
    }
  }

  // exp(s m (p - c)), or NaN where R-2.4 refuses the position: a device cannot raise.
  __device__ __forceinline__ double magnitude(int pair, double place) const {
    const double log = mul(log_magnitude[pair], sub(place, centre));
    return fabs(log) <= 69.31471805599453 ? exp(mul(sign, log)) : as_double(0x7ff8000000000000ull);
  }
};

struct Tables {
  const Number* cos;  // (.., pairs)
  const Number* sin;
  i64 batch_stride, token_stride;

  template <int kPairs>
  __device__ __forceinline__ void turns(i64 batch, i64 token, int pair, Turn (&turn)[kPairs]) const {
    const i64 at = batch * batch_stride + token * token_stride + pair;
#pragma unroll
    for (int k = 0; k < kPairs; ++k) turn[k].cos = cos[at + k], turn[k].sin = sin[at + k];
  }
};

// ---- Lanes: kWidth of them are one load of 16 bytes, or one element

constexpr int kWide = 16 / sizeof(Stored);

template <int kWidth>
struct alignas(kWidth * sizeof(Stored)) Chunk {
  Stored lane[kWidth];
};

template <int kWidth>
ROPE_INLINE Chunk<kWidth> load(const Stored* at) {
  return *reinterpret_cast<const Chunk<kWidth>*>(at);
}

template <int kWidth>
ROPE_INLINE void store(Stored* at, const Chunk<kWidth>& chunk) {
  *reinterpret_cast<Chunk<kWidth>*>(at) = chunk;
}

ROPE_INLINE void rotate_pair(Stored& first, Stored& second, const Turn& turn) {
  const Number a = widen(first), b = widen(second);
  first = narrow(sub(kept(mul(a, turn.cos)), kept(mul(b, turn.sin))));
  second = narrow(add(kept(mul(a, turn.sin)), kept(mul(b, turn.cos))));
}

// ---- The rotation

struct Tensors {
  const Stored* x;
  Stored* y;  // x itself in place
  i64 batches, tokens, heads, groups;
  i64 x_batch, x_token, x_head, x_group, x_lane;  // strides in elements; x_lane and y_lane are 1 for wide chunks
  i64 y_batch, y_token, y_head, y_group, y_lane;
};

struct Items {
  const int* lanes;    // where chunks begin: for an item two that are read and two that are written, then one to be copied
  int rotated, still;  // how many items, and how many chunks that are copied
  i64 heads_each;      // how many heads a thread turns by the same angles
};

// Steps through the heads of one token: the offset of each in x and in y.
struct Head {
  i64 x, y;
  int group;

  __device__ __forceinline__ Head(const Tensors& t, i64 batch, i64 token, i64 n) {
    const i64 head = n / t.groups;
    group = (int)(n - head * t.groups);
    x = batch * t.x_batch + token * t.x_token + head * t.x_head + group * t.x_group;
    y = batch * t.y_batch + token * t.y_token + head * t.y_head + group * t.y_group;
  }

  __device__ __forceinline__ void next(const Tensors& t) {
    const bool last = ++group == t.groups;
    x += last ? t.x_head - (t.groups - 1) * t.x_group : t.x_group;
    y += last ? t.y_head - (t.groups - 1) * t.y_group : t.y_group;
    if (last) group = 0;
  }
};

// A lane in no row keeps its bits (R-2.2).
template <int kWidth>
ROPE_INLINE void copy_item(const Tensors& t, Head head, int heads, int lane) {
  const Stored* x = t.x + lane * t.x_lane;
  Stored* y = t.y + lane * t.y_lane;
#pragma unroll 1
  for (; heads > 0; --heads, head.next(t)) store(y + head.y, load<kWidth>(x + head.x));
}

// kInterleaved: an item is one chunk, whose lanes 2k and 2k + 1 are a pair; else two chunks, and lane k of both are a pair.
template <int kWidth, bool kInterleaved, int kPairs>
ROPE_INLINE void rotate_item(const Tensors& t, Head head, int heads, const int* lane, const Turn (&turn)[kPairs]) {
  const Stored *x0 = t.x + lane[0] * t.x_lane, *x1 = t.x + lane[1] * t.x_lane;
  Stored *y0 = t.y + lane[2] * t.y_lane, *y1 = t.y + lane[3] * t.y_lane;
#pragma unroll 1
  for (; heads > 0; --heads, head.next(t)) {
    Chunk<kWidth> first = load<kWidth>(x0 + head.x);
    if constexpr (kInterleaved) {
#pragma unroll
      for (int k = 0; k < kPairs; ++k) rotate_pair(first.lane[2 * k], first.lane[2 * k + 1], turn[k]);
      store(y0 + head.y, first);
    } else {
      Chunk<kWidth> second = load<kWidth>(x1 + head.x);
#pragma unroll
      for (int k = 0; k < kPairs; ++k) rotate_pair(first.lane[k], second.lane[k], turn[k]);
      store(y0 + head.y, first);
      store(y1 + head.y, second);
    }
  }
}

// A thread has one item of one token, and some of its heads.
template <int kWidth, bool kInterleaved, class Source>
ROPE_INLINE void rotate(const Tensors& t, const Items& items, const Source& source) {
  constexpr int kPairs = kInterleaved ? kWidth / 2 : kWidth;
  const i64 row = (i64)blockIdx.x * blockDim.y + threadIdx.y;
  if (row >= t.batches * t.tokens) return;
  const i64 batch = row / t.tokens, token = row - batch * t.tokens;
  const i64 first = blockIdx.y * items.heads_each, left = t.heads * t.groups - first;
  const int heads = (int)(left < items.heads_each ? left : items.heads_each);
  const Head head(t, batch, token, first);
#pragma unroll 1
  for (int item = threadIdx.x; item < items.rotated + items.still; item += blockDim.x) {
    if (item < items.rotated) {
      Turn turn[kPairs];
      source.turns(batch, token, item * kPairs, turn);
#pragma unroll
      for (int k = 0; k < kPairs; ++k) turn[k].cos = kept(turn[k].cos), turn[k].sin = kept(turn[k].sin);
      rotate_item<kWidth, kInterleaved>(t, head, heads, items.lanes + 4 * item, turn);
    } else {
      copy_item<kWidth>(t, head, heads, items.lanes[3 * items.rotated + item]);
    }
  }
}

// ---- Entry points: every integer is an i64 and every factor a double, as CuPy passes Python's numbers

// A processor holds at least so many blocks: the registers that this leaves a thread (80, or 128) are enough.
#if defined(ROPE_COMPUTE_INPUT)
constexpr int kBlocks = 2;
#else
constexpr int kBlocks = 3;
#endif

#define ROPE_KERNEL extern "C" __global__ void __launch_bounds__(256, kBlocks)

#define ROPE_TENSORS                                                                                                 \
  const Stored *x, Stored *y, i64 batches, i64 tokens, i64 heads, i64 groups, i64 x_batch, i64 x_token, i64 x_head,  \
      i64 x_group, i64 x_lane, i64 y_batch, i64 y_token, i64 y_head, i64 y_group, i64 y_lane, const int *lanes,      \
      i64 rotated, i64 still, i64 heads_each
#define ROPE_PLACES                                                                                                  \
  const i64 *words, i64 axis_stride, i64 batch_stride, i64 token_stride, i64 start, i64 step,                        \
      const Frequency *frequency, const int *real, const double *log_magnitude, i64 axes, i64 pairs, i64 single,     \
      double factor, double centre, double sign
#define ROPE_TABLES const Number *cos, const Number *sin, i64 batch_stride, i64 token_stride

// The structures that these parameters make, in the order of their members.
#define ROPE_ROTATED                                                                                                 \
  {x, y, batches, tokens, heads, groups, x_batch, x_token, x_head, x_group, x_lane, y_batch, y_token, y_head,        \
   y_group, y_lane},                                                                                                 \
  {lanes, (int)rotated, (int)still, heads_each}
#define ROPE_AT                                                                                                      \
  Places{words, axis_stride, batch_stride, token_stride, start, step, frequency, real, log_magnitude, axes, pairs,   \
         single, factor, centre, sign}
#define ROPE_BY Tables{cos, sin, batch_stride, token_stride}

ROPE_KERNEL rotate_lanes_at(ROPE_TENSORS, ROPE_PLACES) { rotate<1, false>(ROPE_ROTATED, ROPE_AT); }
ROPE_KERNEL rotate_runs_at(ROPE_TENSORS, ROPE_PLACES) { rotate<kWide, false>(ROPE_ROTATED, ROPE_AT); }
ROPE_KERNEL rotate_interleaved_at(ROPE_TENSORS, ROPE_PLACES) { rotate<kWide, true>(ROPE_ROTATED, ROPE_AT); }

ROPE_KERNEL rotate_lanes_by(ROPE_TENSORS, ROPE_TABLES) { rotate<1, false>(ROPE_ROTATED, ROPE_BY); }
ROPE_KERNEL rotate_runs_by(ROPE_TENSORS, ROPE_TABLES) { rotate<kWide, false>(ROPE_ROTATED, ROPE_BY); }
ROPE_KERNEL rotate_interleaved_by(ROPE_TENSORS, ROPE_TABLES) { rotate<kWide, true>(ROPE_ROTATED, ROPE_BY); }

// cos and sin, times the factor, of each place: (places, pairs) in the dtype that this is compiled for.
ROPE_KERNEL write_tables(ROPE_PLACES, i64 places, Stored* cos, Stored* sin) {
  const Places source = ROPE_AT;
  const i64 place = (i64)blockIdx.x * blockDim.y + threadIdx.y;
  if (place >= places) return;
#pragma unroll 1
  for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
    Turn turn[1];
    source.turns(0, place, pair, turn);
    cos[place * pairs + pair] = narrow(turn[0].cos);
    sin[place * pairs + pair] = narrow(turn[0].sin);
  }
}
