// Layout of stored vectors (rows) on the GPU. A panel has 64 rows, a quad has 4 rows. A panel stores word 0
// of all its quads, then word 1 of all its quads, and so on. So neighbouring lanes read neighbouring vectors,
// and one read gives a lane the same word of four rows.
//
// A word holds VALUES numbers: 1 (f32), 2 (f16) or 4 (int8). For int8, one more word with the rows' scales
// follows.
//
// Constants: VALUES; WORDS (words of a row without the scale: an even number, and together a multiple of 4
// numbers).

const PANEL_QUADS = 16u;
const ROW_WORDS = WORDS + VALUES / 4u;

// f16 is converted to f32 by shifting its bits without adjusting the exponent, which is the fastest way on
// every adapter. The result is the number times 2^-112, exactly, because no stored number is subnormal. The
// other factor of a product is multiplied by 2^112.
const F16_BITS = vec4i(-1879056384); // 0x8fffe000

// Number i of a word, for four rows. Only numbers below VALUES are defined.
fn number0(words: vec4u) -> vec4f {
  if (VALUES == 1u) {
    return bitcast<vec4f>(words);
  }
  if (VALUES == 2u) {
    return bitcast<vec4f>(((bitcast<vec4i>(words) << vec4u(16u)) >> vec4u(3u)) & F16_BITS);
  }
  return vec4f((bitcast<vec4i>(words) << vec4u(24u)) >> vec4u(24u));
}

fn number1(words: vec4u) -> vec4f {
  if (VALUES == 2u) {
    return bitcast<vec4f>((bitcast<vec4i>(words) >> vec4u(3u)) & F16_BITS);
  }
  return vec4f((bitcast<vec4i>(words) << vec4u(16u)) >> vec4u(24u));
}

fn number2(words: vec4u) -> vec4f {
  return vec4f((bitcast<vec4i>(words) << vec4u(8u)) >> vec4u(24u));
}

fn number3(words: vec4u) -> vec4f {
  return vec4f(bitcast<vec4i>(words) >> vec4u(24u));
}
