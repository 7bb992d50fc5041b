import { commands } from 'vitest/browser';
import { afterAll, expect, test } from 'vitest';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { parseSafetensors } from '../../src/safetensors.ts';
import { checkSupport, DINOv2 } from '../../src/index.ts';
import { FP32_MAX_ERROR, maxError } from '../tolerance.ts';
import adaptersFolder from 'virtual:adapters-folder';

const reference = (path: string): URL => new URL(`/test/fixtures/reference/${path}`, location.origin);

const fetchBytes = async (path: string): Promise<Uint8Array> => {
  const response = await fetch(reference(path));
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};

async function expectedOf(path: string): Promise<(name: string) => Float32Array> {
  const bytes = await fetchBytes(path);
  const { tensors } = parseSafetensors(bytes);
  return (name) => {
    const { begin, end } = tensors.get(name)!;
    return new Float32Array(bytes.slice(begin, end).buffer);
  };
}

test('an adapter is available', async () => {
  const { ok, adapter, features, reason } = await checkSupport();
  expect(reason).toBeUndefined();
  expect(ok).toBe(true);
  const name = `${navigator.userAgent.match(/(Chrome|Firefox)\/[\d.]+/)?.[0]}: ${adapter!.description || `${adapter!.vendor} ${adapter!.architecture}`}`;
  if (adaptersFolder)
    await commands.writeFile(
      `${adaptersFolder}/browser`,
      name + (features!.includes('shader-f16') ? ', shader-f16' : ''),
    );
});

/** Kept until the end, so that all tests share one device with its compiled pipelines and one self-test. */
const models: DINOv2[] = [];
afterAll(() => {
  for (const model of models) model.dispose();
});

test.each(['plain', 'registers', 'swiglu'])(
  'tiny-%s, loaded by URL: every hidden state, at four sizes',
  async (kind) => {
    const model = await DINOv2.fromPretrained(reference(`tiny-${kind}/`));
    models.push(model);
    for (const [height, width, batch] of [
      [70, 70, 1],
      [56, 98, 2],
      [14, 14, 1],
      [100, 61, 1],
    ] as const) {
      const expected = await expectedOf(`tiny-${kind}/expected.${height}x${width}.b${batch}.safetensors`);
      const pixels = syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]);
      using features = await model.forward(pixels, { height, width, batch }, { layers: [0, 1, 2] });
      expect(maxError(await features.lastHiddenState(), expected('last_hidden_state'))).toBeLessThanOrEqual(
        FP32_MAX_ERROR,
      );
      for (const layer of [0, 1, 2]) {
        expect(
          maxError(await features.hiddenState(layer), expected(`hidden_states.${layer}`)),
        ).toBeLessThanOrEqual(FP32_MAX_ERROR);
      }
    }
  },
);

test('in a worker: checkSupport, a forward, and a PCA picture on a canvas', async () => {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  try {
    const answer = await new Promise<{ ok: boolean; cls: Float32Array; distinct: number; error?: string }>(
      (resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(reference('tiny-plain/').href);
      },
    );
    expect(answer.error).toBeUndefined();
    expect(answer.ok).toBe(true);
    const expected = await expectedOf('tiny-plain/expected.70x70.b1.safetensors');
    expect(maxError(answer.cls, expected('last_hidden_state').subarray(0, 128))).toBeLessThanOrEqual(
      FP32_MAX_ERROR,
    );
    expect(answer.distinct).toBeGreaterThan(5);
  } finally {
    worker.terminate();
  }
});

test('ViT-S with synthetic weights at 224 × 224', async () => {
  using model = await DINOv2.synthetic('small');
  const expected = await expectedOf('small.expected.224x224.safetensors');
  const startMs = performance.now();
  using features = await model.forward(syntheticTensor('pixel_values.224x224', [1, 3, 224, 224]), {
    height: 224,
    width: 224,
  });
  const error = maxError(await features.lastHiddenState(), expected('last_hidden_state'));
  console.log(
    `small 224 × 224 in the browser: ${error.toExponential(1)}, ${(performance.now() - startMs).toFixed(0)} ms`,
  );
  expect(error).toBeLessThanOrEqual(FP32_MAX_ERROR);
});
