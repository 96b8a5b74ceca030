/* Kills the process at the k-th call that changes files. Loaded by LD_PRELOAD, armed by kill_at(). */
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

static int due(void) { return left > 0 && __sync_sub_and_fetch(&left, 1) == 0; }
static void now(void) { kill(getpid(), SIGKILL); for (;;) pause(); }
#define REAL(name, type, args) \
  static type(*real) args; \
  if (!real) real = (type(*) args)dlsym(RTLD_NEXT, #name)
#define CALL(result, ...) \
  int hit = due(); \
  if (hit && mode != AFTER) now(); \
  result = real(__VA_ARGS__); \
  if (hit) now()

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write, ssize_t, (int, const void *, size_t));
  int hit = due();
  if (hit && mode == BEFORE) now();
  if (hit && mode == HALF) { real(fd, data, size / 2 / 4096 * 4096); now(); }
  ssize_t done = real(fd, data, size);
  if (hit) now();
  return done;
}
int fsync(int fd) { REAL(fsync, int, (int)); int r; CALL(r, fd); return r; }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64, int, (int, off64_t)); int r; CALL(r, fd, size); return r; }
int rename(const char *a, const char *b) { REAL(rename, int, (const char *, const char *)); int r; CALL(r, a, b); return r; }
int link(const char *a, const char *b) { REAL(link, int, (const char *, const char *)); int r; CALL(r, a, b); return r; }
int linkat(int x, const char *a, int y, const char *b, int f) {
  REAL(linkat, int, (int, const char *, int, const char *, int)); int r; CALL(r, x, a, y, b, f); return r; }
int unlink(const char *a) { REAL(unlink, int, (const char *)); int r; CALL(r, a); return r; }
int rmdir(const char *a) { REAL(rmdir, int, (const char *)); int r; CALL(r, a); return r; }
int mkdir(const char *a, mode_t m) { REAL(mkdir, int, (const char *, mode_t)); int r; CALL(r, a, m); return r; }

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name, int, (const char *, int, ...)); \
    va_list more; va_start(more, flags); int m = va_arg(more, int); va_end(more); \
    if (!(flags & O_CREAT)) return real(path, flags, m); \
    int r; CALL(r, path, flags, m); return r; }
OPEN(open)
OPEN(open64)
