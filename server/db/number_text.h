/* number_text.h - numbers as the text that statements take, by value: number(7).text lives to the
 * end of the expression. */
#ifndef SERVER_DB_NUMBER_TEXT_H
#define SERVER_DB_NUMBER_TEXT_H

#include <stdint.h>
#include <stdio.h>

struct number_text {
    char text[24];
};

static inline struct number_text number(int64_t n)
{
    struct number_text t;
    snprintf(t.text, sizeof(t.text), "%lld", (long long)n);
    return t;
}

#endif
