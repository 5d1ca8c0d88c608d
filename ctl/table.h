/* table.h - a table of text with aligned columns. Cells are copied, and shown by text.h. Running
 * out of memory makes the table `failed`; every later call is a no-op, so that only the end needs a
 * check. One thread. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

struct table_column {
    const char *title;
    bool right; /* numbers */
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t n_columns;                   /* 1..TABLE_COLUMNS_MAX */
    char **cells;                       /* row by row */
    size_t n_cells, cap;
    bool failed;
};

void table_init(struct table *t, const struct table_column *columns, size_t n_columns);
void table_release(struct table *t);
/* The next cell, from the left and then from the top. NULL leaves it empty. */
void table_cell(struct table *t, const char *text);
__attribute__((format(printf, 2, 3))) void table_cell_printf(struct table *t, const char *fmt, ...);
/* Adds to the end of the last cell. */
void table_cell_append(struct table *t, const char *text);
/* Titles and rows, each ended by a line end. False when the table failed: nothing is written. */
bool table_write(const struct table *t, FILE *out);

#endif
