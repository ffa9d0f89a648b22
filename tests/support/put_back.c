// The wall clock of a process, put back by an hour every two seconds, as a host's can be: what looks at it for a
// duration finds a negative one, and what waits for a moment by it waits for an hour. The clock that only goes on
// (CLOCK_MONOTONIC) is as it is. Loaded by LD_PRELOAD; the real clock of the host is nobody's to change.
// With PUT_BACK_WHEN in the environment it is put back by an hour once, as soon as there is a file of that name.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EVERY_S 2
#define BACK_S 3600
#define SLICE_NS 20000000L

static int (*real_gettime)(clockid_t, struct timespec *);

static void find(void) {
    if (!real_gettime) real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE || id == CLOCK_TAI; }

// By how many hours, at this second of the clock that only goes on.
static long hours(time_t second) {
    static int is_back;
    const char *when = getenv("PUT_BACK_WHEN");
    if (!when) return (second / EVERY_S) % 1000;
    if (!is_back) is_back = access(when, F_OK) == 0;
    return is_back;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    struct timespec boot;
    find();
    int code = real_gettime(id, now);
    if (code == 0 && is_wall(id)) {
        real_gettime(CLOCK_MONOTONIC, &boot);
        now->tv_sec -= BACK_S * hours(boot.tv_sec);
    }
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (to) *to = found.tv_sec;
    return found.tv_sec;
}

// A wait until a moment of the wall clock ends when that clock says so: in slices of the real one.
static struct timespec slice(void) {
    struct timespec now;
    find();
    real_gettime(CLOCK_REALTIME, &now);
    now.tv_nsec += SLICE_NS;
    if (now.tv_nsec >= 1000000000L) {
        now.tv_sec += 1;
        now.tv_nsec -= 1000000000L;
    }
    return now;
}

static int is_over(const struct timespec *until) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
    for (;;) {
        struct timespec next = slice();
        int code = real(sem, &next);
        if (code == 0 || errno != ETIMEDOUT) return code;
        if (is_over(until)) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    for (;;) {
        struct timespec next = slice();
        int code = real(mutex, &next);
        if (code != ETIMEDOUT || is_over(until)) return code;
    }
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (until->tv_sec < 1000000000L) return real(cond, mutex, until);  // of the clock that only goes on
    for (;;) {
        struct timespec next = slice();
        int code = real(cond, mutex, &next);
        if (code != ETIMEDOUT || is_over(until)) return code;
    }
}
