// Runs generated CUDA C on the CPU: included before it, with launch() in place of the driver's.
#include <math.h>
#include <pthread.h>
#include <string.h>

#include <utility>

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static

struct Index {
    unsigned int x;
};
static thread_local Index threadIdx, blockIdx, gridDim;
static pthread_barrier_t at_barrier;
#define __syncthreads() pthread_barrier_wait(&at_barrier)

template <class To, class From>
static To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static float __uint_as_float(unsigned int bits) { return same_bits<float>(bits); }
static unsigned int __float_as_uint(float value) { return same_bits<unsigned int>(value); }
[[maybe_unused]] static float from_bits(unsigned short bits);
[[maybe_unused]] static unsigned short to_bits(float value);
#ifdef HALF  // elsewhere two instructions of the GPU
static float from_bits(unsigned short bits) { return (float)same_bits<_Float16>(bits); }
static unsigned short to_bits(float value) { return same_bits<unsigned short>((_Float16)value); }
#endif

template <class... Arguments, size_t... index>
static void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<index...>) {
    kernel(*(Arguments*)arguments[index]...);
}

struct Thread {
    unsigned int number, blocks;
    void** arguments;
};

// One thread of every block, block after block: the threads of a block meet at its barriers and at its end.
template <auto kernel, class... Arguments>
static void run(void (*)(Arguments...), const Thread* thread, bool meet) {
    threadIdx.x = thread->number;
    gridDim.x = thread->blocks;
    for (blockIdx.x = 0; blockIdx.x < thread->blocks; ++blockIdx.x) {
        call(kernel, thread->arguments, std::index_sequence_for<Arguments...>());
        if (meet) __syncthreads();
    }
}

template <auto kernel>
static void* run_thread(void* thread) {
    run<kernel>(kernel, (const Thread*)thread, true);
    return nullptr;
}

// threads is at most 128; without barriers in the kernel they run one after the other.
template <auto kernel>
static void launch(unsigned int blocks, unsigned int threads, bool barriers, void** arguments) {
    Thread list[128];
    pthread_t running[128];
    if (barriers) pthread_barrier_init(&at_barrier, nullptr, threads);
    for (unsigned int number = 0; number < threads; ++number) {
        list[number] = {number, blocks, arguments};
        if (barriers)
            pthread_create(&running[number], nullptr, run_thread<kernel>, &list[number]);
        else
            run<kernel>(kernel, &list[number], false);
    }
    if (!barriers) return;
    for (unsigned int number = 0; number < threads; ++number) pthread_join(running[number], nullptr);
    pthread_barrier_destroy(&at_barrier);
}

#define LAUNCHER(kernel)                                                                                       \
    extern "C" void launch_##kernel(unsigned int blocks, unsigned int threads, int barriers, void** arguments) { \
        launch<kernel>(blocks, threads, barriers, arguments);                                                  \
    }
