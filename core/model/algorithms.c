/* algorithms.c - the table of algorithms, and what belongs to a spec.
 * A new algorithm is one row here, one value of enum seg_algorithm and one fit in
 * pipeline_cluster.c or pipeline_classification.c. */
#include "model/spec.h"

#include <string.h>
#include "base/alloc.h"

static const struct seg_algorithm_info ALGORITHMS[SEG_N_ALGORITHMS] = {
    [SEG_KMEANS] = { .name = "kmeans",
                     .task = SEG_SEGMENTATION,
                     .summary = "k-means on the preprocessed features",
                     .clusters = true,
                     .resumes = true },
    [SEG_MINIBATCH_KMEANS] = { .name = "minibatch_kmeans",
                               .task = SEG_SEGMENTATION,
                               .summary = "k-means by batches of rows: faster on many, a little "
                                          "less exact",
                               .clusters = true,
                               .resumes = true },
    [SEG_GMM] = { .name = "gmm",
                  .task = SEG_SEGMENTATION,
                  .summary = "mixture of Gaussians: every user belongs to each segment to a degree",
                  .clusters = true,
                  .resumes = true },
    [SEG_AUTOENCODER_KMEANS] = { .name = "autoencoder_kmeans",
                                 .task = SEG_SEGMENTATION,
                                 .summary = "k-means on the codes of an autoencoder",
                                 .clusters = true,
                                 .encoder = true,
                                 .resumes = true },
    [SEG_K_PROTOTYPES] = { .name = "k_prototypes",
                           .task = SEG_SEGMENTATION,
                           .summary = "k-means on numbers and categories together",
                           .clusters = true,
                           .categories = true },
    [SEG_DEEP_CLUSTERING] = { .name = "deep_clustering",
                              .task = SEG_SEGMENTATION,
                              .summary =
                                  "an autoencoder and the clusters of its codes, trained together",
                              .clusters = true,
                              .encoder = true,
                              .resumes = true },
    [SEG_MLP] = { .name = "mlp",
                  .task = SEG_CLASSIFICATION,
                  .summary = "multi-layer perceptron with a softmax output",
                  .resumes = true },
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
