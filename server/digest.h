/* digest.h - SHA-256, random bytes and comparing secrets, over libcrypto and getrandom. Nothing
 * here allocates or fails. A struct digest belongs to one thread; the rest is safe from any. */
#ifndef SERVER_DIGEST_H
#define SERVER_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES    32
#define DIGEST_HEX_SIZE (2 * DIGEST_BYTES + 1) /* with the NUL */

struct digest {
    uint64_t state[14]; /* libcrypto's SHA256_CTX */
};

void digest_init(struct digest *d);
void digest_update(struct digest *d, const void *bytes, size_t len);
void digest_final(struct digest *d, uint8_t out[DIGEST_BYTES]);
/* All three in one. */
void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_BYTES]);

/* Lower-case hex of n bytes and a NUL: out has 2 * n + 1 bytes. */
void digest_hex(const uint8_t *bytes, size_t n, char *out);
/* The SHA-256 of bytes as text. */
void digest_sha256_hex(const void *bytes, size_t len, char out[DIGEST_HEX_SIZE]);

/* n random bytes from the kernel. Aborts in the one case in which it could not: no such call. */
void random_bytes(void *out, size_t n);
/* Takes the same time wherever a and b differ. */
bool secret_equal(const void *a, const void *b, size_t n);

#endif
