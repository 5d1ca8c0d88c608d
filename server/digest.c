/* digest.c - SHA-256 by libcrypto's plain functions: unlike EVP they work in the caller's memory
 * and cannot fail, so that no caller has a failure of hashing to handle. OpenSSL 3 marks them as
 * old; OPENSSL_API_COMPAT is its way to ask for them. */
#define OPENSSL_API_COMPAT 10100
#include "digest.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

static_assert(sizeof(SHA256_CTX) == sizeof(struct digest), "state holds a SHA256_CTX");

void digest_init(struct digest *d)
{
    SHA256_Init((SHA256_CTX *)d);
}

void digest_update(struct digest *d, const void *bytes, size_t len)
{
    SHA256_Update((SHA256_CTX *)d, bytes, len);
}

void digest_final(struct digest *d, uint8_t out[DIGEST_BYTES])
{
    SHA256_Final(out, (SHA256_CTX *)d);
}

void digest_sha256(const void *bytes, size_t len, uint8_t out[DIGEST_BYTES])
{
    struct digest d;
    digest_init(&d);
    digest_update(&d, bytes, len);
    digest_final(&d, out);
}

void digest_hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char HEX[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = HEX[bytes[i] >> 4];
        out[2 * i + 1] = HEX[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

void digest_sha256_hex(const void *bytes, size_t len, char out[DIGEST_HEX_SIZE])
{
    uint8_t sha256[DIGEST_BYTES];
    digest_sha256(bytes, len, sha256);
    digest_hex(sha256, sizeof sha256, out);
}

void random_bytes(void *out, size_t n)
{
    unsigned char *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno != EINTR) abort();
            continue;
        }
        at += got;
        n -= (size_t)got;
    }
}

bool secret_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
