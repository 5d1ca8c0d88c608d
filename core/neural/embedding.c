/* embedding.c - tables of vectors: construction, look-up and storage. */
#include "neural/embedding.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"

#define NAME_BYTES   220 /* a prefix and the longest suffix */
#define SIZE_DEFAULT 50u /* at most */

uint32_t seg_embedding_size(uint32_t n_codes)
{
    const double size = ceil(1.6 * pow((double)n_codes, 0.56));
    return size < SIZE_DEFAULT ? (uint32_t)size : SIZE_DEFAULT;
}

/* Tables of zeros. */
static enum seg_status shape(struct seg_embeddings *e, const struct seg_embedding_shape *shapes,
                             uint32_t n, uint32_t n_in)
{
    struct seg_embeddings made = { .n = n, .n_in = n_in, .n_out = n_in };
    if (n > 0) {
        made.shapes = seg_alloc(n, sizeof *made.shapes);
        made.at = seg_alloc(n, sizeof *made.at);
        if (made.shapes == NULL || made.at == NULL) goto no_memory;
        memcpy(made.shapes, shapes, n * sizeof *shapes);
        for (uint32_t i = 0; i < n; i++) {
            made.at[i] = made.n_params;
            made.n_params += (size_t)shapes[i].n_codes * shapes[i].size;
            made.n_out += shapes[i].size - 1;
        }
        made.params = seg_calloc(made.n_params, sizeof *made.params);
        if (made.params == NULL) goto no_memory;
    }
    *e = made;
    return SEG_OK;
no_memory:
    seg_embeddings_release(&made);
    return SEG_ENOMEM;
}

enum seg_status seg_embeddings_init(struct seg_embeddings *e,
                                    const struct seg_embedding_shape *shapes, uint32_t n,
                                    uint32_t n_in, struct seg_rng *rng)
{
    enum seg_status st = shape(e, shapes, n, n_in);
    if (st != SEG_OK) return st;
    for (uint32_t i = 0; i < n; i++) {
        const double limit = sqrt(3.0 / (double)shapes[i].size);
        float *table = e->params + e->at[i];
        for (size_t j = 0; j < (size_t)(shapes[i].n_codes - 1) * shapes[i].size; j++)
            table[j] = (float)((2.0 * seg_rng_double(rng) - 1.0) * limit);
    }
    return SEG_OK;
}

enum seg_status seg_embeddings_copy(struct seg_embeddings *ret_e, const struct seg_embeddings *from)
{
    enum seg_status st = shape(ret_e, from->shapes, from->n, from->n_in);
    if (st == SEG_OK && from->n > 0)
        memcpy(ret_e->params, from->params, from->n_params * sizeof *from->params);
    return st;
}

void seg_embeddings_release(struct seg_embeddings *e)
{
    seg_free(e->shapes);
    seg_free(e->at);
    seg_free(e->params);
    *e = (struct seg_embeddings){ 0 };
}

bool seg_embeddings_alike(const struct seg_embeddings *a, const struct seg_embeddings *b)
{
    if (a->n != b->n || (a->n > 0 && a->n_in != b->n_in)) return false;
    return a->n == 0 || memcmp(a->shapes, b->shapes, a->n * sizeof *a->shapes) == 0;
}

void seg_embeddings_expand(const struct seg_embeddings *e, const float *x, float *out)
{
    uint32_t column = 0;
    for (uint32_t i = 0; i <= e->n; i++) {
        const uint32_t next = i < e->n ? e->shapes[i].column : e->n_in;
        const size_t n_pass = (size_t)(next - column) * SEG_TILE_ROWS;
        memcpy(out, x + (size_t)column * SEG_TILE_ROWS, n_pass * sizeof *out);
        out += n_pass;
        if (i == e->n) break;
        const float *codes = x + (size_t)next * SEG_TILE_ROWS, *table = e->params + e->at[i];
        const size_t size = e->shapes[i].size;
        for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
            const float *vector = table + seg_embeddings_code(e, i, codes[r]) * size;
            for (size_t j = 0; j < size; j++)
                out[j * SEG_TILE_ROWS + r] = vector[j];
        }
        out += size * SEG_TILE_ROWS;
        column = next + 1;
    }
}

static enum seg_status settle(struct seg_embeddings *e, uint32_t i, const struct seg_tiles *x)
{
    const struct seg_embedding_shape *s = &e->shapes[i];
    float *table = e->params + e->at[i];
    uint64_t *n_rows = seg_calloc(s->n_codes, sizeof *n_rows);
    if (n_rows == NULL) return SEG_ENOMEM;
    for (size_t t = 0; t < seg_tiles_count(x); t++) {
        const float *codes = seg_tiles_at(x, t) + (size_t)s->column * SEG_TILE_ROWS;
        for (unsigned r = 0; r < seg_tiles_rows(x, t); r++)
            n_rows[seg_embeddings_code(e, i, codes[r])]++;
    }
    for (size_t j = 0; n_rows[s->n_codes - 1] == 0 && j < s->size; j++) {
        double sum = 0.0;
        for (size_t code = 0; code + 1 < s->n_codes; code++)
            sum += (double)n_rows[code] * (double)table[code * s->size + j];
        table[(size_t)(s->n_codes - 1) * s->size + j] = (float)(sum / (double)x->n_rows);
    }
    seg_free(n_rows);
    return SEG_OK;
}

enum seg_status seg_embeddings_settle(struct seg_embeddings *e, const struct seg_tiles *x)
{
    enum seg_status st = SEG_OK;
    for (uint32_t i = 0; i < e->n && st == SEG_OK; i++)
        st = settle(e, i, x);
    return st;
}

static void tensor_name(char name[NAME_BYTES], const char *prefix, const char *part)
{
    snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
}

enum seg_status seg_embeddings_save(const struct seg_embeddings *e, const char *prefix,
                                    struct seg_tensors *ts)
{
    char name[NAME_BYTES];
    const size_t dims[2] = { e->n, sizeof *e->shapes / sizeof(uint32_t) };
    if (e->n == 0) return SEG_OK;
    tensor_name(name, prefix, "embeddings");
    enum seg_status st = seg_tensors_add(ts, name, SEG_U32, 2, dims, e->shapes);
    if (st != SEG_OK) return st;
    tensor_name(name, prefix, "embedding_tables");
    return seg_tensors_add_vector(ts, name, SEG_F32, e->n_params, e->params);
}

/* Whether the shapes are in range and make n_out columns; then also the columns before. */
static bool shapes_check(const struct seg_embedding_shape *shapes, uint32_t n, uint32_t n_out,
                         uint32_t *ret_n_in)
{
    uint64_t n_in = n_out;
    for (uint32_t i = 0; i < n; i++) {
        const struct seg_embedding_shape *s = &shapes[i];
        if (s->n_codes < 2 || s->n_codes > SEG_EMBEDDING_CODES_MAX || s->size < 1 ||
            s->size > SEG_EMBEDDING_SIZE_MAX || s->size > n_in ||
            (i > 0 && s->column <= shapes[i - 1].column))
            return false;
        n_in -= s->size - 1;
    }
    *ret_n_in = (uint32_t)n_in;
    return shapes[n - 1].column < n_in;
}

enum seg_status seg_embeddings_load(const struct seg_tensors *ts, const char *prefix,
                                    uint32_t n_out, struct seg_embeddings *ret_e,
                                    struct seg_error *err)
{
    char name[NAME_BYTES];
    struct seg_embedding_shape *shapes = NULL;
    struct seg_embeddings e = { 0 };
    const void *data;
    uint32_t n_in = n_out;
    tensor_name(name, prefix, "embeddings");
    const struct seg_tensor *t = seg_tensors_find(ts, name);
    const size_t n = t != NULL ? t->n_bytes / sizeof *shapes : 0;
    if (t == NULL) return shape(ret_e, NULL, 0, n_out);
    if (n < 1 || n > n_out)
        return seg_fail(err, SEG_EFORMAT, "%s has %zu tables (limit 1 to %u)", name, n, n_out);
    enum seg_status st = seg_tensors_expect(ts, name, SEG_U32, 3 * n, &data, err);
    if (st != SEG_OK) return st;
    shapes = seg_alloc(n, sizeof *shapes);
    if (shapes == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory for a network");
    memcpy(shapes, data, n * sizeof *shapes);
    if (!shapes_check(shapes, (uint32_t)n, n_out, &n_in)) {
        st = seg_fail(err, SEG_EFORMAT, "%s is out of range", name);
        goto out;
    }
    size_t n_params = 0; /* before memory is taken on the word of a file */
    for (size_t i = 0; i < n; i++)
        n_params += (size_t)shapes[i].n_codes * shapes[i].size;
    tensor_name(name, prefix, "embedding_tables");
    st = seg_tensors_expect(ts, name, SEG_F32, n_params, &data, err);
    if (st != SEG_OK) goto out;
    st = shape(&e, shapes, (uint32_t)n, n_in);
    if (st != SEG_OK) {
        seg_fail(err, st, "out of memory for a network");
        goto out;
    }
    memcpy(e.params, data, n_params * sizeof *e.params);
    for (size_t i = 0; i < n_params; i++)
        if (!isfinite(e.params[i])) {
            st = seg_fail(err, SEG_EFORMAT, "%s holds a value that is not finite", name);
            goto out;
        }
    *ret_e = e;
    e = (struct seg_embeddings){ 0 };
out:
    seg_embeddings_release(&e);
    seg_free(shapes);
    return st;
}
