/* A file system without locks. */
#include <errno.h>
int flock(int descriptor, int operation) { (void)descriptor; (void)operation; errno = ENOLCK; return -1; }
