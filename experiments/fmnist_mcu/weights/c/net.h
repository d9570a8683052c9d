/* A spiking net in integers, for C99. No malloc, no floating point, no library; 104,298 bytes of constants,
   35,876 bytes of buffers. Made by snntrain 0.2.0.

   Input at one step: 1 x 28 x 28 (channel after channel, row after row), integers from 0 to 255;
   others are clipped. A value x of the trained net becomes the integer floor(x * SNN_PER_STEP + 0.5). */

#ifndef SNN_NET_H
#define SNN_NET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SNN_INPUTS 784
#define SNN_OUTPUTS 10
#define SNN_LAYERS 3        /* of neurons */
#define SNN_READOUT_START 0 /* first step that snn_run counts */
#define SNN_MOST_STEPS 722085 /* that snn_run takes: its sums stay within 32 bits */

/* For callers with floating point; the net itself does not use them. The value of output k is out[k] * scale[k]. */
#define SNN_PER_STEP 0x1.fe00000000000p+7f
#define SNN_SCALE {0x1.09d6b60000000p-8f, 0x1.c084940000000p-9f, 0x1.472b480000000p-8f, 0x1.1767380000000p-8f, 0x1.f290da0000000p-9f, 0x1.1b88120000000p-8f, 0x1.e6a2a60000000p-9f, 0x1.4a7fc80000000p-8f, 0x1.fa0d400000000p-8f, 0x1.c2dd540000000p-9f}

typedef uint8_t snn_in_t;

/* Start from resting potentials: before the first step and between samples. */
void snn_reset(void);

/* One time step: SNN_INPUTS integers in, SNN_OUTPUTS integers out. */
void snn_step(const snn_in_t *in, int32_t *out);

/* Reset, run all steps, and add up the outputs of each class in sum[SNN_OUTPUTS]. `stride` is the distance from the
   input of one step to that of the next: SNN_INPUTS for a sequence, 0 for a picture that is shown at every step.
   Returns snn_class(sum), or -1 if steps is 0 or more than SNN_MOST_STEPS. */
int32_t snn_run(const snn_in_t *in, uint32_t steps, uint32_t stride, int32_t *sum);

/* The class with the largest sum[k] * scale[k], the first of equal ones. */
int32_t snn_class(const int32_t *sum);

#ifdef SNN_RECORD /* main.c is compiled with it, to compare every spike and every potential */
typedef struct {
    const char *name;
    uint32_t count;
    uint8_t potential_bytes;
    const uint8_t *spikes;
    const void *potentials; /* after the reset that follows a spike */
} snn_layer_t;
extern const snn_layer_t snn_layers[SNN_LAYERS];
#endif

#ifdef __cplusplus
}
#endif

#endif
