/* tensors.h - bodies of the Open Inference Protocol, version 2, with its binary tensor extension:
 * a JSON header, then the bytes of the tensors that it calls binary. They fill the same batch of
 * rows as http/rows.h, and keep no tree.
 *
 * Tensors are one a feature, of shape [n] or [n, 1] and for a vector [n, width]; or a single one
 * called "features", of shape [n, cells], with every feature in the model's order. FP32, FP64, as
 * bytes FP16 and BF16, and the integers for numbers, BOOL (or 0 and 1) for booleans, BYTES for
 * categories and times; integers and BOOL are taken for categories by their text. Missing: NaN,
 * null in JSON, an empty BYTES element for a time; a feature without a tensor is missing in all
 * rows. All faults of the header are reported together; a value that is wrong makes its row invalid
 * alone. */
#ifndef SERVER_HTTP_TENSORS_H
#define SERVER_HTTP_TENSORS_H

#include "faults.h"
#include "http/rows.h"

#define TENSOR_OUTPUTS_MAX 16u

struct tensor_output {
    const char *name; /* as the request asks; arena of the rows */
    bool binary;
};

/* What a request says beside its inputs. */
struct tensor_request {
    const char *id; /* NULL: none given; arena of the rows */
    struct tensor_output outputs[TENSOR_OUTPUTS_MAX];
    uint32_t n_outputs; /* 0: all, as binary_output says */
    bool binary_output; /* "parameters": {"binary_data_output": true} */
};

/* body (len) starts with json_len bytes of JSON; the tensors' bytes follow. At most n_rows_max
 * rows. ROWS_REFUSED: *e says where the JSON is broken, or faults were added and e->code is NULL.
 */
enum rows_status tensors_decode(struct rows *r, const char *body, size_t len, size_t json_len,
                                uint32_t n_rows_max, struct tensor_request *ret,
                                struct rows_error *e, struct faults *f);

#endif
