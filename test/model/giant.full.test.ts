// The complete ViT-g (SwiGLU, 40 blocks, 1.1 G synthetic parameters), compared with transformers in float64
// (scripts/make-fixtures/make_giant.py).
import { afterAll, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/index.ts';
import { minCosine } from '../parity.ts';
import { minCosineOf, ways } from './dtypeCases.ts';
import { requestDevice } from '../gpu/tiny.ts';
import { pixelsOf, readOutputs, type Kind } from './outputs.ts';

const report: string[] = [];
const all = await ways(requestDevice);
/**
 * int8, and fp16 in the storage that the library selects on this adapter. Loading 1.1 G weights takes a software
 * adapter half a minute, so other storages are left out.
 */
const tried = all.filter(
  ({ storage }) => storage !== 'f16-packed' || !all.some((way) => way.storage === 'f16'),
);
afterAll(() => {
  console.log(report.join('\n'));
  for (const { device } of all) device.destroy();
});

const [height, width] = [70, 98];
const MINUTES = 60_000;
const BYTES_PER_WEIGHT = { fp32: 4, fp16: 2, int8: 1 } as const;

/**
 * Upper limit of the activation memory: pixels, positions and outputs, and 1.5 times the largest set of values in use
 * at once, which is that of an MLP (tokens before and after, normed, hidden). The factor allows for memory that the
 * planner cannot share.
 */
function activationBytes({ embedDim, hiddenFeatures }: DINOv2['config'], numTokens: number): number {
  const outside = 3 * height * width + 2 * numTokens * embedDim;
  return 4 * (outside + 1.5 * numTokens * (3 * embedDim + hiddenFeatures));
}

describe.each(tried)('$label', ({ label, dtype, device }) => {
  afterAll(() => device.destroy()); // an idle device keeps two gigabytes of destroyed buffers

  // registers only add tokens, so one dtype is enough for them
  test.each<Kind>(dtype === 'int8' ? ['plain', 'registers'] : ['plain'])(
    '%s: cosine of every token, and the GPU memory',
    { timeout: 10 * MINUTES },
    async (kind) => {
      const started = performance.now();
      const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(0)} s`;
      const registers = kind === 'registers';
      using model = await DINOv2.synthetic('giant', { device, dtype, registers });
      expect(model.parameterCount).toBe(registers ? 1_136_486_912 : 1_136_480_768);
      expect(model.config).toMatchObject({ depth: 40, embedDim: 1536, ffn: 'swiglu', hiddenFeatures: 4096 });
      const weights = model.gpuBytes;
      expect(weights).toBeLessThanOrEqual(1.05 * BYTES_PER_WEIGHT[dtype] * model.parameterCount);
      const loaded = seconds();

      using features = await model.forward(pixelsOf(height, width, 1), { height, width });
      const cosine = minCosine(
        await features.lastHiddenState(),
        (await readOutputs(`hf.giant-${kind}.${height}x${width}.b1`)).get('last')!.values,
        1536,
      );
      const activations = model.gpuBytes - weights;
      report.push(
        `giant ${kind} ${height}×${width} ${label}: 1 - ${(1 - cosine).toExponential(1)}; ${(weights / 1e6).toFixed(0)} MB, and ${(activations / 1e6).toFixed(1)} of activations; loaded in ${loaded}, done in ${seconds()}`,
      );
      expect(cosine).toBeGreaterThanOrEqual(minCosineOf(dtype));
      expect(activations).toBeLessThanOrEqual(activationBytes(model.config, features.numTokens));
    },
  );
});
