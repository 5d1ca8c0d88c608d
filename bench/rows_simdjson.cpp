// simdjson's on-demand reader on the bodies of rows.c: the floats of every row into tiles, names compared with those expected in their order. It rounds to double
// and then to float, and leaves the rules of a body (unknown keys, duplicates, ids) unchecked.
#include "rows_simdjson.h"

#include <simdjson.h>

static simdjson::ondemand::parser parser;

template <class Row> static bool read_row(Row row, float *tile, size_t n_columns)
{
    size_t c = 0;
    for (auto value : row) {
        double x;
        if (c == n_columns || value.get_double().get(x)) return false;
        tile[64 * c++] = (float)x;
    }
    return c == n_columns;
}

static bool read_named(simdjson::ondemand::object features, const char *const *names, float *tile, size_t n_columns)
{
    size_t c = 0;
    for (auto field : features) {
        double x;
        std::string_view key;
        if (c == n_columns || field.unescaped_key().get(key) || key != names[c] || field.value().get_double().get(x)) return false;
        tile[64 * c++] = (float)x;
    }
    return c == n_columns;
}

extern "C" size_t rows_simdjson_padding(void)
{
    return simdjson::SIMDJSON_PADDING;
}

extern "C" const char *rows_simdjson_isa(void)
{
    static const std::string name = simdjson::get_active_implementation()->name();
    return name.c_str();
}

extern "C" size_t rows_simdjson_decode(const char *body, size_t len, size_t size, const char *const *names, size_t n_columns, float *tiles)
{
    size_t n = 0;
    simdjson::ondemand::document doc;
    simdjson::ondemand::array rows;
    if (parser.iterate(body, len, size).get(doc)) return 0;
    bool named = doc["rows"].get_array().get(rows) == simdjson::SUCCESS;
    if (!named && doc["data"].get_array().get(rows)) return 0;
    for (auto row : rows) {
        float *tile = tiles + n / 64 * 64 * n_columns + n % 64;
        bool ok;
        if (named) {
            simdjson::ondemand::object features;
            ok = !row["features"].get_object().get(features) && read_named(features, names, tile, n_columns);
        } else {
            simdjson::ondemand::array values;
            ok = !row.get_array().get(values) && read_row(values, tile, n_columns);
        }
        if (!ok) return 0;
        n++;
    }
    return n;
}
