/* pipeline_encode.c - rows to codes, chunk by chunk. */
#include "base/alloc.h"
#include "model/pipeline_private.h"

struct encoding {
    const struct pipeline *p;
    const struct seg_network *autoencoder;
    struct seg_tiles *x, *codes;
    bool consume; /* nothing reads x again: free it chunk by chunk */
    atomic_bool no_memory;
};

static void encode_chunk(void *ctx, size_t chunk)
{
    struct encoding *e = ctx;
    size_t first = chunk * SEG_CHUNK_TILES, last = first + SEG_CHUNK_TILES;
    size_t n_tiles = seg_tiles_count(e->x);
    float *scratch = NULL;

    if (last > n_tiles) last = n_tiles;
    if (pipeline_cancelled(e->p)) return;
    scratch = seg_alloc_aligned(seg_network_scratch(e->autoencoder), sizeof(float));
    if (scratch == NULL) {
        atomic_store(&e->no_memory, true);
        return;
    }
    for (size_t i = first; i < last; i++) {
        model_encode_tile(e->autoencoder, seg_tiles_at(e->x, i), seg_tiles_at(e->codes, i),
                          scratch);
        seg_tiles_clear_lanes(e->codes, i);
        seg_pool_give_way();
    }
    seg_free(scratch);
    if (e->consume) seg_tiles_drop_chunk(e->x, chunk);
}

enum seg_status pipeline_encode_part(struct pipeline *p, enum seg_part part, bool consume)
{
    struct encoding e = { .p = p,
                          .autoencoder = &p->model->autoencoder,
                          .x = &p->x[part],
                          .codes = &p->codes[part],
                          .consume = consume };
    enum seg_status st = consume && part == SEG_PART_TRAIN ? pipeline_project(p) : SEG_OK;
    if (st != SEG_OK) return st;
    st = seg_tiles_zeros(e.codes, e.x->n_rows, p->spec->encoder[p->spec->n_encoder - 1]);
    if (st != SEG_OK) return st;
    seg_pool_for(p->pool, SEG_PRIORITY_TRAINING, e.x->n_chunks, encode_chunk, &e);
    if (pipeline_cancelled(p)) return SEG_ECANCELED;
    if (atomic_load(&e.no_memory)) return SEG_ENOMEM;
    if (consume) seg_tiles_release(e.x);
    return SEG_OK;
}

enum seg_status pipeline_encode_parts(struct pipeline *p)
{
    enum seg_status st = SEG_OK;
    for (int part = 0; part < SEG_PARTS && st == SEG_OK; part++)
        st = pipeline_encode_part(p, (enum seg_part)part, !p->spec->has_head);
    p->space = p->codes;
    return st;
}
