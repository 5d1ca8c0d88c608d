/* algorithms.c - the table of algorithms, and what belongs to a spec.
 * A new algorithm is one row here, one value of enum seg_algorithm and one fit in
 * pipeline_cluster.c or pipeline_classification.c. */
#include "model/spec.h"

#include <string.h>
#include "base/alloc.h"

static const struct seg_algorithm_info ALGORITHMS[SEG_N_ALGORITHMS] = {
    [SEG_KMEANS] = { "kmeans", SEG_SEGMENTATION, true, false, false,
                     "k-means on the preprocessed features", true },
    [SEG_MINIBATCH_KMEANS] = { "minibatch_kmeans", SEG_SEGMENTATION, true, false, false,
                               "k-means by batches of rows: faster on many, a little less exact",
                               true },
    [SEG_GMM] = { "gmm", SEG_SEGMENTATION, true, false, false,
                  "mixture of Gaussians: every user belongs to each segment to a degree", true },
    [SEG_AUTOENCODER_KMEANS] = { "autoencoder_kmeans", SEG_SEGMENTATION, true, true, false,
                                 "k-means on the codes of an autoencoder", true },
    [SEG_K_PROTOTYPES] = { "k_prototypes", SEG_SEGMENTATION, true, false, true,
                           "k-means on numbers and categories together" },
    [SEG_DEEP_CLUSTERING] = { "deep_clustering", SEG_SEGMENTATION, true, true, false,
                              "an autoencoder and the clusters of its codes, trained together",
                              true },
    [SEG_MLP] = { "mlp", SEG_CLASSIFICATION, false, false, false,
                  "multi-layer perceptron with a softmax output", true },
};

const struct seg_algorithm_info *seg_algorithm_info(enum seg_algorithm a)
{
    return &ALGORITHMS[a];
}

int seg_algorithm_from_name(const char *name)
{
    for (int i = 0; i < SEG_N_ALGORITHMS; i++)
        if (strcmp(ALGORITHMS[i].name, name) == 0) return i;
    return -1;
}

void seg_spec_release(struct seg_spec *s)
{
    seg_free(s->columns);
    s->columns = NULL;
    s->n_columns = 0;
}
