// Loaded before all other libraries (LD_PRELOAD), makes one call of a program go wrong. Calls are numbered in
// the order in which they are made, so that a test can try one after the other:
//
//   FAULT_CALLS   which count, some of: create read write map name remove sync make_folder allocate
//   FAULT_AT      the number of the call, from 1 on; 0 only counts
//   FAULT_DO      what happens there: errno=N, the call fails; signal=N, the process gets a signal, and the
//   call is made
//                 if it survives; truncate=PATH, the call is made and the file cut to half
//   FAULT_LASTS   set: calls behind it go wrong too, as on a disk that is full
//   FAULT_COUNTS  a file of 8 bytes, where the number of calls is kept, however the process ends
//   FAULT_NO_UNNAMED  set: the file system knows no unnamed files (O_TMPFILE)

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Fault {
  const char* calls = nullptr;
  uint64_t at = 0;
  int number = 0;  ///< errno
  int signal = 0;
  const char* truncate = nullptr;
  bool lasts = false;
  bool no_unnamed = false;
  std::atomic<uint64_t>* count = nullptr;
};

/// What is called before main goes well: there is no halfsafe yet that could take note.
Fault fault;
std::atomic<bool> ready{false};

// The calls as they are behind this library, found when they are first used or before main, whichever is
// first: a search may take memory.
// clang-format off
#define FOR_EACH_CALL(DO) \
  DO(open) DO(open64) DO(openat) DO(fopen) DO(fopen64) DO(mkstemp64) DO(mkstemp) DO(write) DO(fwrite) DO(pread) \
  DO(fread) DO(mmap) DO(fsync) DO(link) DO(linkat) DO(rename) DO(mkdir) DO(unlink) DO(unlinkat) DO(rmdir)
// clang-format on
#define DECLARE(name) decltype(&::name) real_##name = nullptr;
#define FIND(name) \
  if (real_##name == nullptr) real_##name = reinterpret_cast<decltype(real_##name)>(dlsym(RTLD_NEXT, #name));
#define NEXT(name) FIND(name) const auto next = real_##name;
FOR_EACH_CALL(DECLARE)

void SetUp() {
  FOR_EACH_CALL(FIND)
  const char* calls = std::getenv("FAULT_CALLS");
  if (calls == nullptr) return;
  fault.calls = calls;
  if (const char* at = std::getenv("FAULT_AT")) fault.at = std::strtoull(at, nullptr, 10);
  fault.lasts = std::getenv("FAULT_LASTS") != nullptr;
  fault.no_unnamed = std::getenv("FAULT_NO_UNNAMED") != nullptr;
  if (const char* what = std::getenv("FAULT_DO")) {
    if (std::strncmp(what, "errno=", 6) == 0) fault.number = std::atoi(what + 6);
    if (std::strncmp(what, "signal=", 7) == 0) fault.signal = std::atoi(what + 7);
    if (std::strncmp(what, "truncate=", 9) == 0) fault.truncate = what + 9;
  }
  static std::atomic<uint64_t> unshared{0};
  fault.count = &unshared;
  if (const char* path = std::getenv("FAULT_COUNTS")) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    void* shared = mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) fault.count = static_cast<std::atomic<uint64_t>*>(shared);
    close(fd);
  }
  ready = true;
}

/// Whether this call goes wrong. `errno` is set where it is to fail.
bool GoesWrong(const char* call) {
  if (!ready || std::strstr(fault.calls, call) == nullptr) return false;
  const uint64_t number = fault.count->fetch_add(1) + 1;
  return fault.at != 0 && (number == fault.at || (fault.lasts && number > fault.at));
}

/// Makes the call unless it is to fail.
template <typename Make, typename Result>
Result Call(const char* name, Result failed, const Make& make) {
  if (!GoesWrong(name)) return make();
  if (fault.signal != 0) kill(getpid(), fault.signal);
  if (fault.number != 0) {
    errno = fault.number;
    return failed;
  }
  const Result result = make();
  struct stat status {};
  if (fault.truncate != nullptr && stat(fault.truncate, &status) == 0) {
    const int reason = errno;
    if (::truncate(fault.truncate, status.st_size / 2) != 0) std::abort();
    errno = reason;
  }
  return result;
}

const char* KindOf(int flags) { return (flags & (O_CREAT | O_WRONLY | O_RDWR)) != 0 ? "create" : "read"; }

/// What the system says of itself, which libraries read and don't check for.
bool OfTheSystem(const char* path) {
  return std::strncmp(path, "/proc/", 6) == 0 || std::strncmp(path, "/sys/", 5) == 0;
}

template <typename Make>
int Open(const char* path, int flags, const Make& make) {
  if (OfTheSystem(path)) return make();
  if (ready && fault.no_unnamed && (flags & O_TMPFILE) == O_TMPFILE) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return Call(KindOf(flags), -1, make);
}

mode_t ModeOf(va_list list, int flags) {
  return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(list, mode_t) : 0;
}

using Main = int (*)(int, char**, char**);
Main real_main = nullptr;

int MainWithFaults(int argc, char** argv, char** environment) {
  SetUp();
  return real_main(argc, argv, environment);
}

}  // namespace

extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): glibc's names.
int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*loader)(),
                      void* stack) {
  static const auto next =
      reinterpret_cast<decltype(&__libc_start_main)>(dlsym(RTLD_NEXT, "__libc_start_main"));
  real_main = main;
  return next(&MainWithFaults, argc, argv, init, fini, loader, stack);
}

int open(const char* path, int flags, ...) {
  NEXT(open)
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(list, flags);
  va_end(list);
  return Open(path, flags, [&] { return next(path, flags, mode); });
}

int open64(const char* path, int flags, ...) {
  NEXT(open64)
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(list, flags);
  va_end(list);
  return Open(path, flags, [&] { return next(path, flags, mode); });
}

int openat(int folder, const char* path, int flags, ...) {
  NEXT(openat)
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(list, flags);
  va_end(list);
  return Open(path, flags, [&] { return next(folder, path, flags, mode); });
}

FILE* fopen(const char* path, const char* mode) {
  NEXT(fopen)
  const bool reads = mode[0] == 'r' && std::strchr(mode, '+') == nullptr;
  const auto make = [&] { return next(path, mode); };
  return OfTheSystem(path) ? make() : Call(reads ? "read" : "create", static_cast<FILE*>(nullptr), make);
}

FILE* fopen64(const char* path, const char* mode) {
  NEXT(fopen64)
  const bool reads = mode[0] == 'r' && std::strchr(mode, '+') == nullptr;
  const auto make = [&] { return next(path, mode); };
  return OfTheSystem(path) ? make() : Call(reads ? "read" : "create", static_cast<FILE*>(nullptr), make);
}

int mkstemp64(char* name) {
  NEXT(mkstemp64)
  return Call("create", -1, [&] { return next(name); });
}

int mkstemp(char* name) {
  NEXT(mkstemp)
  return Call("create", -1, [&] { return next(name); });
}

ssize_t write(int fd, const void* data, size_t size) {
  NEXT(write)
  // Standard streams are the test's.
  if (fd <= STDERR_FILENO) return next(fd, data, size);
  return Call("write", ssize_t{-1}, [&] { return next(fd, data, size); });
}

size_t fwrite(const void* data, size_t size, size_t count, FILE* stream) {
  NEXT(fwrite)
  if (stream == stdout || stream == stderr) return next(data, size, count, stream);
  return Call("write", size_t{0}, [&] { return next(data, size, count, stream); });
}

ssize_t pread(int fd, void* data, size_t size, off_t offset) {
  NEXT(pread)
  return Call("read", ssize_t{-1}, [&] { return next(fd, data, size, offset); });
}

size_t fread(void* data, size_t size, size_t count, FILE* stream) {
  NEXT(fread)
  return Call("read", size_t{0}, [&] { return next(data, size, count, stream); });
}

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  NEXT(mmap)
  const auto make = [&] { return next(address, size, protection, flags, fd, offset); };
  return fd < 0 ? make() : Call("map", MAP_FAILED, make);
}

int fsync(int fd) {
  NEXT(fsync)
  return Call("sync", -1, [&] { return next(fd); });
}

int link(const char* from, const char* to) {
  NEXT(link)
  return Call("name", -1, [&] { return next(from, to); });
}

int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  NEXT(linkat)
  return Call("name", -1, [&] { return next(from_folder, from, to_folder, to, flags); });
}

int rename(const char* from, const char* to) {
  NEXT(rename)
  return Call("name", -1, [&] { return next(from, to); });
}

int mkdir(const char* path, mode_t mode) {
  NEXT(mkdir)
  return Call("make_folder", -1, [&] { return next(path, mode); });
}

int unlink(const char* path) {
  NEXT(unlink)
  return Call("remove", -1, [&] { return next(path); });
}

int unlinkat(int folder, const char* path, int flags) {
  NEXT(unlinkat)
  return Call("remove", -1, [&] { return next(folder, path, flags); });
}

int rmdir(const char* path) {
  NEXT(rmdir)
  return Call("remove", -1, [&] { return next(path); });
}

// glibc's own names, because dlsym, which finds them otherwise, allocates.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
// NOLINTEND(bugprone-reserved-identifier)

void* malloc(size_t size) {
  return Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_malloc(size); });
}

void* calloc(size_t count, size_t size) {
  return Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_calloc(count, size); });
}

void* realloc(void* old, size_t size) {
  return Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_realloc(old, size); });
}

void* memalign(size_t alignment, size_t size) {
  return Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_memalign(alignment, size); });
}

void* aligned_alloc(size_t alignment, size_t size) {
  return Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_memalign(alignment, size); });
}

int posix_memalign(void** result, size_t alignment, size_t size) {
  *result = Call("allocate", static_cast<void*>(nullptr), [&] { return __libc_memalign(alignment, size); });
  return *result == nullptr ? ENOMEM : 0;
}

}  // extern "C"
