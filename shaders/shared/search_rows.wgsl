// Stored vectors as they lie on the GPU: 64 rows are a panel, 4 rows a quad; a panel holds word k of all of its quads, then word k + 1. So lanes
// beside each other read vectors beside each other, and a lane gets the same word of four rows at once.
//
// A word holds VALUES numbers: 1 (f32), 2 (f16) or 4 (int8). Behind the words of int8 lies one more, the rows' scales.
// From outside: VALUES, WORDS (of a row, without the scale; a multiple of 2, and 4 numbers or a multiple).

const PANEL_QUADS = 16u;
const ROW_WORDS = WORDS + VALUES / 4u;

// f16 loses its exponent's bias on the way to f32 here, which is the quickest on every adapter: what comes out is 2^-112 of the number, exactly,
// because no number that is stored is subnormal. The other factor makes up for it.
const F16_BITS = vec4i(-1879056384); // 0x8fffe000

// The i-th number of a word, of four rows. Only those below VALUES mean anything.
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
