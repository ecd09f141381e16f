/* Write down what a port computes, for `numpy-llama compare`: one safetensors file, in C, without a library.
 *
 *     struct trace *t = trace_begin("theirs.safetensors");
 *     trace_call(t, 0);                                            // the first call of the model
 *     trace_ids(t, "input_ids", ids, 1, T);
 *     trace_value(t, "model.layers.0.mlp", out, 3, (long[]){1, T, E});
 *     trace_end(t);                                                // writes the file; 0 if all went well
 *
 * Names and axes are those of docs/trace-format.md. The last axis is the one whose numbers lie side by side. What isn't
 * written isn't compared, so begin with a few values: one a layer, say.
 *
 * The file is the length of a header (8 bytes, little-endian), the header (JSON: where each tensor lies), the numbers.
 */
#ifndef TRACE_WRITER_H
#define TRACE_WRITER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct trace {
    const char *path;
    FILE *numbers; /* the tensors, one after the other, until their places are known */
    char *header;
    size_t header_length, header_room;
    uint64_t written;
    int call;
    int failed;
};

static struct trace *trace_begin(const char *path)
{
    struct trace *t = calloc(1, sizeof *t);
    if (t != NULL) {
        t->path = path;
        t->numbers = tmpfile();
        t->header_room = 1 << 12;
        t->header = malloc(t->header_room);
    }
    if (t == NULL || t->numbers == NULL || t->header == NULL) {
        perror("trace_begin");
        exit(1);
    }
    t->header[0] = '{';
    t->header_length = 1;
    return t;
}

/* What is written from here on belongs to this call of the model: 0, 1, 2, … */
static inline void trace_call(struct trace *t, int call) { t->call = call; }

static void trace_tensor(struct trace *t, const char *name, const void *data, const char *dtype, size_t item_size,
                         int axes, const long *shape)
{
    char entry[512];
    uint64_t count = 1;
    int length = snprintf(entry, sizeof entry, "%s\"call.%04d/%s\":{\"dtype\":\"%s\",\"shape\":[",
                          t->header_length > 1 ? "," : "", t->call, name, dtype);
    for (int axis = 0; axis < axes && length < 400; axis++) {
        count *= (uint64_t)shape[axis];
        length += snprintf(entry + length, sizeof entry - (size_t)length, "%s%ld", axis ? "," : "", shape[axis]);
    }
    if (length >= 400) {
        fprintf(stderr, "trace: the name is too long: %.60s…\n", name);
        t->failed = 1;
        return;
    }
    uint64_t end = t->written + count * item_size;
    length += snprintf(entry + length, sizeof entry - (size_t)length, "],\"data_offsets\":[%llu,%llu]}",
                       (unsigned long long)t->written, (unsigned long long)end);
    if (t->header_length + (size_t)length + 16 > t->header_room) {
        t->header_room *= 2;
        t->header = realloc(t->header, t->header_room);
        if (t->header == NULL) {
            perror("trace");
            exit(1);
        }
    }
    memcpy(t->header + t->header_length, entry, (size_t)length);
    t->header_length += (size_t)length;
    t->failed |= fwrite(data, item_size, (size_t)count, t->numbers) != (size_t)count;
    t->written = end;
}

/* A value in float: (shape[0], …, shape[axes − 1]). */
static inline void trace_value(struct trace *t, const char *name, const float *data, int axes, const long *shape)
{
    trace_tensor(t, name, data, "F32", sizeof *data, axes, shape);
}

/* input_ids, position_ids or attention_mask: (rows, columns). */
static inline void trace_ids(struct trace *t, const char *name, const int64_t *data, long rows, long columns)
{
    trace_tensor(t, name, data, "I64", sizeof *data, 2, (long[]){rows, columns});
}

/* Write the file and forget the trace; 0 if all went well. */
static int trace_end(struct trace *t)
{
    t->header[t->header_length++] = '}';
    while (t->header_length % 8 != 0) /* so that the numbers begin at a multiple of 8 */
        t->header[t->header_length++] = ' ';
    FILE *file = fopen(t->path, "wb");
    int failed = t->failed || file == NULL;
    if (!failed) {
        unsigned char length[8];
        for (int byte = 0; byte < 8; byte++)
            length[byte] = (unsigned char)((uint64_t)t->header_length >> (8 * byte));
        failed |= fwrite(length, 1, 8, file) != 8;
        failed |= fwrite(t->header, 1, t->header_length, file) != t->header_length;
        char buffer[1 << 14];
        size_t read;
        rewind(t->numbers);
        while ((read = fread(buffer, 1, sizeof buffer, t->numbers)) > 0)
            failed |= fwrite(buffer, 1, read, file) != read;
    }
    if (file != NULL)
        failed |= fclose(file) != 0;
    if (failed)
        fprintf(stderr, "trace: %s was not written\n", t->path);
    fclose(t->numbers);
    free(t->header);
    free(t);
    return failed;
}

#endif
