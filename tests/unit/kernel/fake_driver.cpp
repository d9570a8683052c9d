// A CUDA driver without a GPU: it notes the calls, and runs kernels that a C++ compiler made (see cuda_on_cpu.h).
#include <dlfcn.h>
#include <string.h>

#include <string>
#include <vector>

#if __has_include(<cuda.h>)
#include <cuda.h>  // these definitions have to fit its declarations
#else
typedef int CUresult;
typedef int CUdevice;
typedef struct Context* CUcontext;
typedef struct Module* CUmodule;
typedef struct Function* CUfunction;
typedef struct Stream* CUstream;
#define CUDAAPI
#define cuCtxPushCurrent cuCtxPushCurrent_v2
#define cuCtxPopCurrent cuCtxPopCurrent_v2
#endif

struct Kernel {
    void (*launch)(unsigned int, unsigned int, int, void**);
    int barriers;
};

static std::string notes;
static thread_local std::vector<CUcontext> current;
static const CUresult OK = (CUresult)0, INVALID_IMAGE = (CUresult)200, INVALID_CONTEXT = (CUresult)201;

static CUresult note(const std::string& text, CUresult result = OK) {
    notes += text + "\n";
    return result;
}
static std::string number(unsigned long long value) { return " " + std::to_string(value); }

extern "C" {
const char* take_notes() {
    static std::string taken;
    taken = notes;
    notes.clear();
    return taken.c_str();
}
CUresult CUDAAPI cuInit(unsigned int flags) { return note("cuInit" + number(flags)); }
CUresult CUDAAPI cuDriverGetVersion(int* version) {
    *version = 12080;
    return OK;
}
CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
    *device = 100 + ordinal;
    return note("cuDeviceGet" + number(ordinal));
}
CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    *context = (CUcontext)(0x7f0000000000 + device);
    return note("cuDevicePrimaryCtxRetain" + number(device));
}
CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
    current.push_back(context);
    return OK;
}
CUresult CUDAAPI cuCtxPopCurrent(CUcontext* context) {
    if (current.empty()) return INVALID_CONTEXT;
    *context = current.back();
    current.pop_back();
    return OK;
}
// The "machine code" is the path of a library, and whether its kernel `backward` has barriers: "0/path" or "1/path".
CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
    if (current.empty()) return note("cuModuleLoadData", INVALID_CONTEXT);
    const char* text = (const char*)image;
    void* library = *text == '0' || *text == '1' ? dlopen(text + 1, RTLD_NOW) : nullptr;
    if (!library) return note("cuModuleLoadData", INVALID_IMAGE);
    *module = (CUmodule) new std::pair<void*, int>(library, *text == '1');
    return note("cuModuleLoadData" + number((unsigned long long)current.back() - 0x7f0000000000));
}
CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    auto* loaded = (std::pair<void*, int>*)module;
    void* launch = dlsym(loaded->first, (std::string("launch_") + name).c_str());
    if (!launch) return note("cuModuleGetFunction", (CUresult)500);
    int barriers = loaded->second && !strcmp(name, "backward");
    *function = (CUfunction) new Kernel{(void (*)(unsigned int, unsigned int, int, void**))launch, barriers};
    return note(std::string("cuModuleGetFunction ") + name);
}
CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned int x, unsigned int y, unsigned int z, unsigned int threads,
                                unsigned int threads_y, unsigned int threads_z, unsigned int shared, CUstream stream,
                                void** arguments, void** extra) {
    if (current.empty()) return note("cuLaunchKernel", INVALID_CONTEXT);
    if (y != 1 || z != 1 || threads_y != 1 || threads_z != 1 || shared || extra) return note("cuLaunchKernel", (CUresult)1);
    auto* kernel = (Kernel*)function;
    kernel->launch(x, threads, kernel->barriers, arguments);
    return note("cuLaunchKernel" + number((unsigned long long)stream));
}
CUresult CUDAAPI cuGetErrorName(CUresult error, const char** text) {
    *text = error == INVALID_IMAGE ? "CUDA_ERROR_INVALID_IMAGE" : nullptr;
    return *text ? OK : (CUresult)1;
}
CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
    *text = error == INVALID_IMAGE ? "device kernel image is invalid" : nullptr;
    return *text ? OK : (CUresult)1;
}
}
