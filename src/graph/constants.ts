/** Numbers that the graph, the kernels and the model share. */

/** Bytes of one f32 number, the element type of every activation. */
export const F32_BYTES = 4;

/** Width of an attention head. The kernels compute no other width. */
export const HEAD_DIM = 64;
