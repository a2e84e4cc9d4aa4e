// kernel.cu compiled for the host: the words of CUDA that it uses, and a launcher that walks the grid on one thread.
//
//   g++ -std=c++17 -ffp-contract=off -fno-strict-aliasing -shared -fPIC -DROPE_FLOAT32 -I backends/cupy cupy_stand_in.cpp

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct Dimensions {
  unsigned int x, y, z;
};
static thread_local Dimensions gridDim, blockDim, blockIdx, threadIdx;

// -ffp-contract=off keeps these two roundings, as the intrinsics do on a device.
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }

template <class To, class From>
static inline To bit_copy(From from) {
  static_assert(sizeof(To) == sizeof(From), "a cast of bits keeps the size");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
static inline float __uint_as_float(unsigned int bits) { return bit_copy<float>(bits); }
static inline unsigned int __float_as_uint(float value) { return bit_copy<unsigned int>(value); }
static inline double __longlong_as_double(long long bits) { return bit_copy<double>(bits); }

#include "kernel.cu"

// A kernel's parameters, one character each: p a pointer, i an integer of 8 bytes, d a double.
template <class T>
static char letter() {
  if (std::is_pointer<T>::value) return 'p';
  return std::is_same<T, double>::value ? 'd' : 'i';
}

template <class... Parameters, std::size_t... Index>
static void walk(void (*kernel)(Parameters...), Dimensions grid, Dimensions block, void** arguments,
                 std::index_sequence<Index...>) {
  gridDim = grid, blockDim = block;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
              kernel(*static_cast<Parameters*>(arguments[Index])...);
}

// Writes the kernel's letters where `letters` is given, else launches it; false: there is no kernel of that name.
template <class... Parameters>
static bool serve(void (*kernel)(Parameters...), const Dimensions* size, void** arguments, char* letters) {
  if (letters) {
    const std::string all{letter<Parameters>()...};
    std::memcpy(letters, all.c_str(), all.size() + 1);
  } else {
    walk(kernel, size[0], size[1], arguments, std::index_sequence_for<Parameters...>{});
  }
  return true;
}

extern "C" bool stand_in(const char* name, const Dimensions* size, void** arguments, char* letters) {
  const std::string wanted = name;
#define SERVE(kernel) \
  if (wanted == #kernel) return serve(kernel, size, arguments, letters);
  SERVE(rotate_lanes_at)
  SERVE(rotate_runs_at)
  SERVE(rotate_interleaved_at)
  SERVE(rotate_lanes_by)
  SERVE(rotate_runs_by)
  SERVE(rotate_interleaved_by)
  SERVE(write_tables)
  return false;
}
