/* activation_twin.h - the activations of a network in float64. */
#ifndef TESTS_UNIT_ACTIVATION_TWIN_H
#define TESTS_UNIT_ACTIVATION_TWIN_H

#include <math.h>
#include "neural/network.h"

static inline double twin_activation(enum seg_activation a, double z)
{
    switch (a) {
    case SEG_RELU: return z > 0.0 ? z : 0.0;
    case SEG_SIGMOID: return 1.0 / (1.0 + exp(-z));
    case SEG_TANH: return tanh(z);
    case SEG_GELU: return 0.5 * z * (1.0 + tanh(sqrt(2.0 / M_PI) * (z + 0.044715 * z * z * z)));
    case SEG_LINEAR: break;
    }
    return z;
}

#endif
