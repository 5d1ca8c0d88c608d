/* dev.h - `segmentd dev`: the whole service in one command, for trying it out. A private PostgreSQL
 * in a folder, the sample shop, the server, and at the first start a model trained through its own
 * HTTP API. As root everything runs as the user postgres. */
#ifndef SERVER_DEV_DEV_H
#define SERVER_DEV_DEV_H

/* argv[0] is "dev". Runs until SIGINT or SIGTERM, or with --check until the answers have been
 * verified. Call it before any thread exists. Returns the exit status: 0, 1, or 2 for bad usage. */
int dev_main(int argc, char **argv);

#endif
