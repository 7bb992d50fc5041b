// Reads stored vectors (rows) of the search index on the GPU. Their layout: a panel has 64 rows, a quad has 4
// rows. A panel stores word 0 of all its quads, then word 1 of all its quads, and so on. So neighbouring
// lanes read neighbouring addresses, and one read gives a lane the same word of four rows.
//
// A word of 32 bits holds VALUES numbers: 1 (f32), 2 (f16) or 4 (int8). For int8, the last word of a row is
// followed by one more word, which holds the row's scale.
//
// Constants: VALUES; WORDS, the words of a row without the scale. WORDS is even, and VALUES · WORDS is a
// multiple of 4.

const PANEL_QUADS = 16u;
const ROW_WORDS = WORDS + VALUES / 4u;

// An f16 number is converted to f32 by shifting its bits without adjusting the exponent, which is the fastest
// way on every adapter. The result is exactly the number times 2^-112, because no stored number is subnormal.
// To compensate, the other factor of each product is multiplied by 2^112.
const F16_BITS = vec4i(-1879056384); // 0x8fffe000

// The functions number0, number1, … return number 0, 1, … of a word, for each of four rows. The result is
// defined only for numbers below VALUES.
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
