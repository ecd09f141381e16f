/* The first layer of a Llama in C, with a bug in it.
 *
 *     cc -O2 -o one_layer one_layer.c -lm
 *     ./one_layer litmus.bin theirs.safetensors 1 17 4 33 8
 *
 * It reads a llama2.c file, takes the tokens through embedding and first layer, and writes down every value on the way.
 * README.md beside it tells how the bug is found. (Weights are floats in the machine's own byte order.)
 */
#include <math.h>

#include "trace_writer.h"

#define EPS 1e-5f
#define THETA 10000.0f

static int E, F, L, H, K, V, D; /* the letters of the whole project: width, MLP width, layers, heads, … */

static void *allocate(size_t numbers)
{
    float *memory = calloc(numbers, sizeof *memory);
    if (memory == NULL) {
        perror("one_layer");
        exit(1);
    }
    return memory;
}

/* y (T, outputs) = x (T, inputs) Wᵀ, W (outputs, inputs) */
static void linear(float *y, const float *x, const float *W, int T, int inputs, int outputs)
{
    for (int t = 0; t < T; t++)
        for (int o = 0; o < outputs; o++) {
            float sum = 0;
            for (int i = 0; i < inputs; i++)
                sum += x[t * inputs + i] * W[o * inputs + i];
            y[t * outputs + o] = sum;
        }
}

static void rms_norm(float *y, const float *x, const float *weight, int T)
{
    for (int t = 0; t < T; t++) {
        float squares = 0;
        for (int e = 0; e < E; e++)
            squares += x[t * E + e] * x[t * E + e];
        float factor = 1 / sqrtf(squares / E + EPS);
        for (int e = 0; e < E; e++)
            y[t * E + e] = weight[e] * (x[t * E + e] * factor);
    }
}

/* Turn neighbouring channels of every head: x (T, heads · D). llama2.c's files keep their rows in that order. */
static void rope(float *x, int T, int heads)
{
    for (int t = 0; t < T; t++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < D / 2; i++) {
                float angle = t * powf(THETA, -2.0f * i / D);
                float *pair = x + (t * heads + h) * D + 2 * i;
                float a = pair[0], b = pair[1];
                pair[0] = a * cosf(angle) - b * sinf(angle);
                pair[1] = b * cosf(angle) + a * sinf(angle);
            }
}

/* context (T, H · D); scores and weights (H, T, T) are kept, to be written down */
static void attention(float *context, float *scores, float *weights, const float *q, const float *k, const float *v,
                      int T)
{
    for (int h = 0; h < H; h++) {
        int shared = h % K; /* the key/value head that query head h reads */
        for (int t = 0; t < T; t++) {
            float *score = scores + (h * T + t) * T, *weight = weights + (h * T + t) * T;
            float largest = -INFINITY, sum = 0;
            for (int s = 0; s < T; s++) {
                score[s] = 0;
                for (int d = 0; d < D; d++)
                    score[s] += q[(t * H + h) * D + d] * k[(s * K + shared) * D + d];
                score[s] = s <= t ? score[s] / sqrtf(D) : -INFINITY;
                largest = fmaxf(largest, score[s]);
            }
            for (int s = 0; s < T; s++)
                sum += weight[s] = expf(score[s] - largest);
            for (int s = 0; s < T; s++)
                weight[s] /= sum;
            for (int d = 0; d < D; d++) {
                float mixed = 0;
                for (int s = 0; s < T; s++)
                    mixed += weight[s] * v[(s * K + shared) * D + d];
                context[(t * H + h) * D + d] = mixed;
            }
        }
    }
}

/* The numbers of a file behind its seven integers, which go into `sizes`. */
static float *read_model(const char *path, int32_t sizes[7])
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(sizes, sizeof *sizes, 7, file) != 7) {
        fprintf(stderr, "one_layer: %s: no llama2.c file\n", path);
        exit(1);
    }
    long begin = ftell(file);
    fseek(file, 0, SEEK_END);
    size_t numbers = (size_t)(ftell(file) - begin) / sizeof(float);
    fseek(file, begin, SEEK_SET);
    float *weights = allocate(numbers);
    if (fread(weights, sizeof *weights, numbers, file) != numbers)
        exit(1);
    fclose(file);
    return weights;
}

int main(int count, char **words)
{
    if (count < 4) {
        fprintf(stderr, "usage: one_layer MODEL.bin TRACE.safetensors ID ID …\n");
        return 2;
    }
    int32_t sizes[7];
    float *next = read_model(words[1], sizes), *model = next;
    E = sizes[0], F = sizes[1], L = sizes[2], H = sizes[3], K = sizes[4], V = abs(sizes[5]), D = E / H;

    /* In the file each kind of tensor stands for all layers; ours is the first. */
    const float *embeddings = next;
    const float *input_norm = next += V * E;
    const float *q_proj = next += L * E;
    const float *k_proj = next += L * H * D * E;
    const float *v_proj = next += L * K * D * E;
    const float *o_proj = next += L * K * D * E;
    const float *post_norm = next += L * E * H * D;
    const float *gate_proj = next += L * E;
    const float *down_proj = next += L * F * E;
    const float *up_proj = next += L * E * F;

    int T = count - 3;
    int64_t *ids = calloc((size_t)T, sizeof *ids);
    float *hidden = allocate(T * E), *normed = allocate(T * E), *added = allocate(T * E);
    float *q = allocate(T * H * D), *k = allocate(T * K * D), *v = allocate(T * K * D), *context = allocate(T * H * D);
    float *scores = allocate(H * T * T), *weights = allocate(H * T * T);
    float *gate = allocate(T * F), *up = allocate(T * F);

    struct trace *trace = trace_begin(words[2]);
    trace_call(trace, 0);
    for (int t = 0; t < T; t++) {
        ids[t] = atoi(words[3 + t]);
        if (ids[t] < 0 || ids[t] >= V) {
            fprintf(stderr, "one_layer: token ids are 0 … %d, found %s\n", V - 1, words[3 + t]);
            return 2;
        }
        memcpy(hidden + t * E, embeddings + ids[t] * E, E * sizeof *hidden);
    }
    trace_ids(trace, "input_ids", ids, 1, T);
    trace_value(trace, "model.embed_tokens", hidden, 3, (long[]){1, T, E});

    rms_norm(normed, hidden, input_norm, T);
    trace_value(trace, "model.layers.0.input_layernorm", normed, 3, (long[]){1, T, E});
    linear(q, normed, q_proj, T, E, H * D);
    linear(k, normed, k_proj, T, E, K * D);
    linear(v, normed, v_proj, T, E, K * D);
    trace_value(trace, "model.layers.0.self_attn.q_proj", q, 3, (long[]){1, T, H * D});
    trace_value(trace, "model.layers.0.self_attn.k_proj", k, 3, (long[]){1, T, K * D});
    trace_value(trace, "model.layers.0.self_attn.v_proj", v, 3, (long[]){1, T, K * D});
    rope(q, T, H);
    rope(k, T, K);
    attention(context, scores, weights, q, k, v, T);
    trace_value(trace, "model.layers.0.self_attn.scores", scores, 4, (long[]){1, H, T, T});
    trace_value(trace, "model.layers.0.self_attn.weights", weights, 4, (long[]){1, H, T, T});
    linear(added, context, o_proj, T, H * D, E);
    trace_value(trace, "model.layers.0.self_attn", added, 3, (long[]){1, T, E});
    for (int i = 0; i < T * E; i++)
        hidden[i] += added[i];
    trace_value(trace, "model.layers.0.after_attention", hidden, 3, (long[]){1, T, E});

    rms_norm(normed, hidden, post_norm, T);
    linear(gate, normed, gate_proj, T, E, F);
    linear(up, normed, up_proj, T, E, F);
    trace_value(trace, "model.layers.0.mlp.gate_proj", gate, 3, (long[]){1, T, F});
    trace_value(trace, "model.layers.0.mlp.up_proj", up, 3, (long[]){1, T, F});
    for (int i = 0; i < T * F; i++)
        gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
    linear(added, gate, down_proj, T, F, E);
    trace_value(trace, "model.layers.0.mlp", added, 3, (long[]){1, T, E});
    for (int i = 0; i < T * E; i++)
        hidden[i] += added[i];
    trace_value(trace, "model.layers.0", hidden, 3, (long[]){1, T, E});
    free(model);
    return trace_end(trace);
}
