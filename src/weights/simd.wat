;; Functions that process every weight, four values at a time (WebAssembly's fixed-width SIMD), because JavaScript is slow at this work: they transpose
;; rows into panels, and convert panels to F16 or int8.
(module
  (memory (export "memory") 1)

  ;; Transposes columns `begin` … `end` of a row-major (rows, columns) matrix at `from` into a (columns, 64) panel, where the first of these rows begins at
  ;; `to`. `rows`, `begin` and `end` are multiples of 4. Returns the bitwise or of all values. Works on 16 columns at a time: one cache line of every row,
  ;; read once.
  (func (export "turn") (param $from i32) (param $to i32) (param $columns i32) (param $rows i32) (param $begin i32) (param $last i32) (result i32)
    (local $pitch i32) (local $end i32) (local $row i32) (local $column i32)
    (local $row_from i32) (local $row_to i32) (local $in i32) (local $out i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $ab_low v128) (local $ab_high v128) (local $cd_low v128) (local $cd_high v128) (local $all v128)
    (local.set $pitch (i32.shl (local.get $columns) (i32.const 2)))
    (loop $blocks
      (local.set $end (i32.add (local.get $begin) (i32.const 16)))
      (if (i32.gt_u (local.get $end) (local.get $last)) (then (local.set $end (local.get $last))))
      (local.set $row (i32.const 0))
      (local.set $row_from (i32.add (local.get $from) (i32.shl (local.get $begin) (i32.const 2))))
      (local.set $row_to (i32.add (local.get $to) (i32.shl (local.get $begin) (i32.const 8))))
      (loop $four_rows
        (local.set $column (local.get $begin))
        (local.set $in (local.get $row_from))
        (local.set $out (local.get $row_to))
        (loop $four_columns
          (local.set $a (v128.load (local.get $in)))
          (local.set $b (v128.load (i32.add (local.get $in) (local.get $pitch))))
          (local.set $c (v128.load (i32.add (local.get $in) (i32.shl (local.get $pitch) (i32.const 1)))))
          (local.set $d (v128.load (i32.add (i32.add (local.get $in) (i32.shl (local.get $pitch) (i32.const 1))) (local.get $pitch))))
          (local.set $all (v128.or (local.get $all) (v128.or (v128.or (local.get $a) (local.get $b)) (v128.or (local.get $c) (local.get $d)))))
          ;; a0 b0 a1 b1, a2 b2 a3 b3; then the same for c and d
          (local.set $ab_low (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b)))
          (local.set $ab_high (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b)))
          (local.set $cd_low (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d)))
          (local.set $cd_high (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d)))
          (v128.store (local.get $out) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab_low) (local.get $cd_low)))
          (v128.store offset=256 (local.get $out) (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $ab_low) (local.get $cd_low)))
          (v128.store offset=512 (local.get $out) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab_high) (local.get $cd_high)))
          (v128.store offset=768 (local.get $out) (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $ab_high) (local.get $cd_high)))
          (local.set $in (i32.add (local.get $in) (i32.const 16)))
          (local.set $out (i32.add (local.get $out) (i32.const 1024)))
          (br_if $four_columns (i32.lt_u (local.tee $column (i32.add (local.get $column) (i32.const 4))) (local.get $end))))
        (local.set $row_from (i32.add (local.get $row_from) (i32.shl (local.get $pitch) (i32.const 2))))
        (local.set $row_to (i32.add (local.get $row_to) (i32.const 16)))
        (br_if $four_rows (i32.lt_u (local.tee $row (i32.add (local.get $row) (i32.const 4))) (local.get $rows))))
      (br_if $blocks (i32.lt_u (local.tee $begin (local.get $end)) (local.get $last))))
    (i32.or
      (i32.or (i32x4.extract_lane 0 (local.get $all)) (i32x4.extract_lane 1 (local.get $all)))
      (i32.or (i32x4.extract_lane 2 (local.get $all)) (i32x4.extract_lane 3 (local.get $all)))))

  ;; Converts `count` float32 (a multiple of 4) at `at` to F16, in place: the result takes the first half of the memory. Rounds to nearest, ties to even, as
  ;; float.ts does. Magnitudes from 65520 on become infinity; NaN stays NaN. (The code is not split into functions, because engines do not inline calls.)
  (func (export "to_f16") (param $at i32) (param $count i32)
    (local $from i32) (local $end i32) (local $bits v128) (local $magnitude v128) (local $halves v128)
    (local.set $from (local.get $at))
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (local.set $bits (v128.load (local.get $from)))
      (local.set $magnitude (v128.and (local.get $bits) (v128.const i32x4 0x7fffffff 0x7fffffff 0x7fffffff 0x7fffffff)))
      (local.set $halves
        (v128.bitselect
          ;; Below 2^-14 an F16 is a multiple of 2^-24, as is a float32 from 0.5 to 1. So adding 0.5 rounds the value to an F16.
          (i32x4.sub
            (f32x4.add (local.get $magnitude) (v128.const f32x4 0.5 0.5 0.5 0.5))
            (v128.const i32x4 0x3f000000 0x3f000000 0x3f000000 0x3f000000))
          (v128.bitselect
            ;; infinity, or a quiet NaN with the upper bits of the payload
            (v128.or
              (v128.const i32x4 0x7c00 0x7c00 0x7c00 0x7c00)
              (v128.and
                (v128.or
                  (v128.and (i32x4.shr_u (local.get $magnitude) (i32.const 13)) (v128.const i32x4 0x3ff 0x3ff 0x3ff 0x3ff))
                  (v128.const i32x4 0x200 0x200 0x200 0x200))
                (i32x4.gt_s (local.get $magnitude) (v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000))))
            ;; Rounds half to even: adds half a step minus one, plus one if the kept part is odd. A carry increments the exponent, up to infinity.
            (i32x4.shr_u
              (i32x4.add
                (i32x4.sub (local.get $magnitude) (v128.const i32x4 0x37fff001 0x37fff001 0x37fff001 0x37fff001))
                (v128.and (i32x4.shr_u (local.get $magnitude) (i32.const 13)) (v128.const i32x4 1 1 1 1)))
              (i32.const 13))
            (i32x4.ge_s (local.get $magnitude) (v128.const i32x4 0x47800000 0x47800000 0x47800000 0x47800000)))
          (i32x4.lt_s (local.get $magnitude) (v128.const i32x4 0x38800000 0x38800000 0x38800000 0x38800000))))
      (local.set $halves
        (v128.or (local.get $halves) (v128.and (i32x4.shr_u (local.get $bits) (i32.const 16)) (v128.const i32x4 0x8000 0x8000 0x8000 0x8000))))
      (v128.store64_lane 0 (local.get $at) (i16x8.narrow_i32x4_u (local.get $halves) (local.get $halves)))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $four (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 16))) (local.get $end)))))

  ;; Writes the largest magnitude of each column of `count` float32 in rows of 64 at `at` to `out` (64 float32). NaN is ignored.
  (func (export "largest") (param $at i32) (param $count i32) (param $out i32)
    (local $offset i32) (local $column i32)
    (memory.fill (local.get $out) (i32.const 0) (i32.const 256))
    (loop $four
      (local.set $column (i32.add (local.get $out) (i32.and (local.get $offset) (i32.const 255))))
      (v128.store (local.get $column) (f32x4.pmax (v128.load (local.get $column)) (f32x4.abs (v128.load (i32.add (local.get $at) (local.get $offset))))))
      (br_if $four (i32.lt_u (local.tee $offset (i32.add (local.get $offset) (i32.const 16))) (i32.shl (local.get $count) (i32.const 2))))))

  ;; Converts `count` float32 in rows of 64 at `at` to int8, in place: the result takes the first quarter of the memory. Each value is divided by the divisor
  ;; of its column (64 float64 at `divisors`) and rounded, halves upwards. In float64 no quotient of two float32 is rounded to a half by mistake.
  (func (export "to_int8") (param $at i32) (param $count i32) (param $divisors i32)
    (local $from i32) (local $end i32) (local $divisor i32) (local $values v128)
    (local.set $from (local.get $at))
    (local.set $end (i32.add (local.get $at) (i32.shl (local.get $count) (i32.const 2))))
    (loop $four
      (local.set $values (v128.load (local.get $from)))
      (local.set $values (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23
        (i32x4.trunc_sat_f64x2_s_zero (f64x2.floor (f64x2.add (v128.const f64x2 0.5 0.5)
          (f64x2.div (f64x2.promote_low_f32x4 (local.get $values)) (v128.load (i32.add (local.get $divisors) (local.get $divisor)))))))
        (i32x4.trunc_sat_f64x2_s_zero (f64x2.floor (f64x2.add (v128.const f64x2 0.5 0.5)
          (f64x2.div
            (f64x2.promote_low_f32x4 (i8x16.shuffle 8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15 (local.get $values) (local.get $values)))
            (v128.load offset=16 (i32.add (local.get $divisors) (local.get $divisor)))))))))
      (local.set $values (i16x8.narrow_i32x4_s (local.get $values) (local.get $values)))
      (v128.store32_lane 0 (local.get $at) (i8x16.narrow_i16x8_s (local.get $values) (local.get $values)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (local.set $divisor (i32.and (i32.add (local.get $divisor) (i32.const 32)) (i32.const 511)))
      (br_if $four (i32.lt_u (local.tee $from (i32.add (local.get $from) (i32.const 16))) (local.get $end))))))
