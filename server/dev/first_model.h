/* first_model.h - what a newcomer would do first, done through the server's own HTTP API: register
 * the shop's features, train the model customers, read its segments. Progress and the table of
 * segments go to stdout, what goes wrong to stderr. One thread. */
#ifndef SERVER_DEV_FIRST_MODEL_H
#define SERVER_DEV_FIRST_MODEL_H

#include <stdbool.h>
#include "dev/client.h"

/* Trains customers unless it is there, and shows its segments. *stop ends the wait for the job.
 * False on failure, or when it was stopped. */
bool first_model_train(const struct client *c, bool (*stop)(void));
/* True when what the server answers about customers is right: three segments that hold every user
 * of the shop, and a prediction that names one of them. */
bool first_model_check(const struct client *c);

#endif
