// The tuner on a device that computes wrong numbers; a software adapter takes minutes to compile what it tries there.
import { expect, test } from 'vitest';
import { requestAdapter } from '../../src/gpu/device.ts';
import { DINOv2 } from '../../src/index.ts';
import { asGpu, requestDevice, tiny } from './tiny.ts';

const half = (await requestAdapter()).features.has('shader-f16');

// Only where the adapter has f16 are there weights that can be staged as f16; elsewhere the model stores them packed, and has no such candidate.
test('a kernel that computes something wrong, or other bits than the one that it stands for, does not win', { timeout: 900_000 }, async () => {
  const device = await requestDevice(half ? ['shader-f16'] : []);
  const create = device.createShaderModule.bind(device);
  device.createShaderModule = ({ code, ...rest }) => {
    const doubled = code.includes('alias Operand4 = vec4<f16>;') ? code.replaceAll('Operand4(weights4(', 'Operand4(2.0 * weights4(') : code;
    const masked = doubled.includes('const QUERY_GROUPS = 4u;') ? doubled.replace('const MASKED = -1e30;', 'const MASKED = 0.0;') : doubled;
    const doubledToo = masked.includes('const LANES_X = 16u;') ? masked.replace('tile.left5 + bias_left', '2.0 * tile.left5 + bias_left') : masked;
    // Of a lane's second row, in the small tile alone: right, but rounded differently. (Every fourth row of the canary is one number alone, which no order changes.)
    return create({ ...rest, code: doubledToo.replace('fma(vec4f(x3.y), weight3, fma(vec4f(x2.y), weight2, ', 'fma(vec4f(x2.y), weight2, fma(vec4f(x3.y), weight3, ') });
  };
  asGpu(device);
  using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
  const kept = { wantedLanes: 0, operands: 'f32', wantedLanesWidest: 0, wantedLanesNarrow: 1e6, wantedLanesAttention: 1e6 };
  const { source, tuning, samples, leftOut } = await model.tune({ sizesPx: [28], store: { get: () => Promise.resolve(kept), set: () => Promise.resolve() } });
  expect(source).toBe('measured');
  expect(tuning).toMatchObject({ operands: 'f32', wantedLanesWidest: undefined, wantedLanesNarrow: undefined, wantedLanesAttention: undefined });
  expect(samples.map(({ kernel }) => kernel)).toEqual(['linear', 'linear_narrow.linear', 'attention', ...['linear_scale_residual', 'linear_gelu', 'linear_scale_residual'].flatMap((form) => [`linear.${form}`, `linear_narrow.${form}`])]);
  expect(samples.every(({ operands }) => operands === 'f32')).toBe(true);
  expect(leftOut[0]).toMatch(/^wantedLanesWidest: Self-test of kernel linear(\.\w+)? with/);
  expect(leftOut[1]).toMatch(/^wantedLanesNarrow: Self-test of kernel linear_small\.\w+: expected the bits of the kernel that it stands for/);
  expect(leftOut[2]).toMatch(/^wantedLanesAttention: Self-test of kernel attention/);
  expect(leftOut.slice(3).join()).toMatch(half ? /^weights staged as f16: Self-test of kernel linear/ : /^$/);
  device.destroy();
});
