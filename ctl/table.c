/* Widths are taken when the table is whole; the last column is not padded, so that lines have no
 * white space at their ends. */
#include "table.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include "base/alloc.h"
#include "text.h"

#define GAP 2 /* columns of the terminal between two of the table */

void table_init(struct table *t, const struct table_column *columns, size_t n_columns)
{
    assert(n_columns >= 1 && n_columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){ .columns = columns, .n_columns = n_columns };
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        seg_free(t->cells[i]);
    seg_free(t->cells);
    *t = (struct table){ 0 };
}

void table_cell(struct table *t, const char *text)
{
    if (t->failed) return;
    char **grown = seg_grow(t->cells, t->n_cells, &t->cap, sizeof(*grown));
    if (grown != NULL) t->cells = grown;
    char *copy = grown != NULL ? seg_strdup(text != NULL ? text : "") : NULL;
    if (copy == NULL)
        t->failed = true;
    else
        t->cells[t->n_cells++] = copy;
}

void table_cell_printf(struct table *t, const char *fmt, ...)
{
    char text[256]; /* for numbers and the like; longer text goes to table_cell */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    table_cell(t, text);
}

void table_cell_append(struct table *t, const char *text)
{
    if (t->failed || *text == '\0') return;
    char **cell = &t->cells[t->n_cells - 1];
    size_t len = strlen(*cell), added = strlen(text);
    char *grown = seg_realloc(*cell, len + added + 1, 1);
    if (grown == NULL) {
        t->failed = true;
        return;
    }
    memcpy(grown + len, text, added + 1);
    *cell = grown;
}

static void write_cell(const struct table *t, FILE *out, size_t column, const char *text,
                       const size_t *widths)
{
    int pad = (int)(widths[column] - text_width(text));
    bool last = column + 1 == t->n_columns;
    if (t->columns[column].right) fprintf(out, "%*s", pad, "");
    text_write(out, text);
    if (!t->columns[column].right && !last) fprintf(out, "%*s", pad, "");
    if (last)
        fputc('\n', out);
    else
        fprintf(out, "%*s", GAP, "");
}

bool table_write(const struct table *t, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    if (t->failed) return false;
    assert(t->n_cells % t->n_columns == 0);
    for (size_t c = 0; c < t->n_columns; c++) {
        widths[c] = text_width(t->columns[c].title);
        for (size_t i = c; i < t->n_cells; i += t->n_columns)
            if (text_width(t->cells[i]) > widths[c]) widths[c] = text_width(t->cells[i]);
    }
    for (size_t c = 0; c < t->n_columns; c++)
        write_cell(t, out, c, t->columns[c].title, widths);
    for (size_t i = 0; i < t->n_cells; i++)
        write_cell(t, out, i % t->n_columns, t->cells[i], widths);
    return true;
}
