/* Kills the process at the k-th call that changes files: before it, after it, or in the middle of a
   write (then writes alone are counted). Loaded by LD_PRELOAD, armed by kill_at(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { BEFORE, AFTER, HALF };
static long left = 0;
static int mode = BEFORE;

void kill_at(long k, int when) { left = k; mode = when; }
long calls_left(void) { return left; }

static int counted(void) { return left > 0 && __sync_sub_and_fetch(&left, 1) == 0; }
static int due(void) { return mode != HALF && counted(); }
static void now(void) { kill(getpid(), SIGKILL); for (;;) pause(); }
#define REAL(name, type, args) \
  static type(*real) args; \
  if (!real) real = (type(*) args)dlsym(RTLD_NEXT, #name)
#define CALL(result, ...) \
  int hit = due(); \
  if (hit && mode == BEFORE) now(); \
  result = real(__VA_ARGS__); \
  if (hit) now()

#define WRITE(name, types, values) \
  ssize_t name types { \
    REAL(name, ssize_t, types); \
    int hit = counted(); \
    if (hit && mode == BEFORE) now(); \
    if (hit && mode == HALF) size = size / 2 >= 4096 ? size / 2 / 4096 * 4096 : size / 2; \
    ssize_t done = real values; \
    if (hit) now(); \
    return done; }
WRITE(write, (int fd, const void *data, size_t size), (fd, data, size))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
int fsync(int fd) { REAL(fsync, int, (int)); int r; CALL(r, fd); return r; }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64, int, (int, off64_t)); int r; CALL(r, fd, size); return r; }
int rename(const char *a, const char *b) { REAL(rename, int, (const char *, const char *)); int r; CALL(r, a, b); return r; }
int link(const char *a, const char *b) { REAL(link, int, (const char *, const char *)); int r; CALL(r, a, b); return r; }
int linkat(int x, const char *a, int y, const char *b, int f) {
  REAL(linkat, int, (int, const char *, int, const char *, int)); int r; CALL(r, x, a, y, b, f); return r; }
int renameat(int x, const char *a, int y, const char *b) {
  REAL(renameat, int, (int, const char *, int, const char *)); int r; CALL(r, x, a, y, b); return r; }
int unlinkat(int x, const char *a, int f) {
  REAL(unlinkat, int, (int, const char *, int)); int r; CALL(r, x, a, f); return r; }
int unlink(const char *a) { REAL(unlink, int, (const char *)); int r; CALL(r, a); return r; }
int rmdir(const char *a) { REAL(rmdir, int, (const char *)); int r; CALL(r, a); return r; }
int mkdir(const char *a, mode_t m) { REAL(mkdir, int, (const char *, mode_t)); int r; CALL(r, a, m); return r; }

#define OPEN(name, types, varied, ...) \
  int name varied { \
    REAL(name, int, types); \
    va_list more; va_start(more, flags); int m = va_arg(more, int); va_end(more); \
    if (!(flags & O_CREAT)) return real(__VA_ARGS__, m); \
    int r; CALL(r, __VA_ARGS__, m); return r; }
OPEN(open, (const char *, int, ...), (const char *path, int flags, ...), path, flags)
OPEN(open64, (const char *, int, ...), (const char *path, int flags, ...), path, flags)
OPEN(openat, (int, const char *, int, ...), (int at, const char *path, int flags, ...), at, path, flags)
OPEN(openat64, (int, const char *, int, ...), (int at, const char *path, int flags, ...), at, path, flags)
