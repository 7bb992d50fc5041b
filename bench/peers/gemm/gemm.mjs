// Compares a linear layer of this library with that of peers that have no DINOv2: TensorFlow.js and jax-js, in turn in
// Node on one adapter, f32, with bias.
//
//   npm ci --ignore-scripts --prefix bench/peers/gemm
//   node bench/peers/gemm/gemm.mjs [--adapter any | swiftshader | DRIVER.json] [--shapes 257x384x1152,…] [--repeats 10]
//                                  [--rounds 3]
//
// A shape is rows x input features x output features. Each engine has its own process. A round is --repeats layers and one
// wait for the last result; the engines take turns. Times are those of one layer in the fastest round: wall time, and CPU time
// of the process. Only the peers' first values are checked; test/ checks ours.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { installWebGpu } from '../../adapter.mjs';
import { Child, serve, timed } from '../../child.mjs';

/** The engines: each returns a function that computes a layer, and one that waits and returns its first values. */
const ENGINES = {
  async 'TensorFlow.js'() {
    const tf = await import('@tensorflow/tfjs-core');
    await import('@tensorflow/tfjs-backend-webgpu');
    if (!(await tf.setBackend('webgpu'))) throw new Error('the backend webgpu did not start');
    await tf.ready();
    return ({ x, weight, bias, rows, depth, columns }) => {
      const [a, b] = [tf.tensor2d(x, [rows, depth]), tf.tensor2d(weight, [depth, columns])];
      const c = tf.tensor1d(bias);
      let result;
      return {
        layer() {
          result?.dispose();
          result = tf.fused.matMul({ a, b, bias: c });
        },
        wait: () => result.data(),
      };
    };
  },
  async 'jax-js'() {
    const { init, defaultDevice, jit, numpy: np } = await import('@jax-js/jax');
    await init('webgpu');
    defaultDevice('webgpu');
    return ({ x, weight, bias, rows, depth, columns }) => {
      const [a, b] = [np.array(x).reshape([rows, depth]), np.array(weight).reshape([depth, columns])];
      const c = np.array(bias);
      const product = jit((left, right, add) => np.matmul(left, right).add(add));
      let result;
      return {
        layer() {
          result?.dispose();
          result = product(a.ref, b.ref, c.ref);
        },
        wait: () => result.ref.data(),
      };
    };
  },
};

function reference({ x, weight, bias, depth, columns }, column) {
  let sum = bias[column];
  for (let k = 0; k < depth; k++) sum += x[k] * weight[k * columns + column];
  return sum;
}

if (process.send) {
  let engine;
  let made;
  serve({
    async load({ name, adapter }) {
      await installWebGpu(adapter);
      navigator.userAgent = 'Chrome'; // jax-js reads it
      engine = await ENGINES[name]();
    },
    async shape({ rows, depth, columns }) {
      const filled = (count, seed) =>
        Float32Array.from({ length: count }, (_, i) => (Math.imul(i + seed, 0x9e3779b9) >> 8) / 2 ** 23);
      const layer = {
        rows,
        depth,
        columns,
        x: filled(rows * depth, 1),
        weight: filled(depth * columns, 7),
        bias: filled(columns, 3),
      };
      made = engine(layer);
      made.layer();
      const found = await made.wait();
      for (const column of [0, 1, columns - 1]) {
        const expected = reference(layer, column);
        if (!(Math.abs(found[column] - expected) < 1e-3 * depth ** 0.5))
          throw new Error(`wrong: expected ${expected}, found ${found[column]}`);
      }
    },
    async time({ repeats }) {
      const { wallMs, cpuMs } = await timed(async () => {
        for (let i = 0; i < repeats; i++) made.layer();
        await made.wait();
      }, 1);
      return { ms: wallMs[0] / repeats, cpuMs: cpuMs[0] / repeats };
    },
  });
} else {
  const { values: options } = parseArgs({
    options: {
      adapter: { type: 'string', default: 'any' },
      shapes: { type: 'string', default: '257x384x1152,257x384x1536,257x1536x384' },
      repeats: { type: 'string', default: '10' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const names = ['ours', ...Object.keys(ENGINES)];
  const children = [];
  const failures = new Map();
  for (const name of names) {
    const file = name === 'ours' ? new URL('ours.mjs', import.meta.url) : import.meta.url;
    const child = new Child(fileURLToPath(file));
    await child.call('load', { name, adapter: options.adapter }).then(
      () => children.push({ name, child }),
      (error) => failures.set(name, error.message.split('\n')[0]),
    );
  }
  console.log(
    `| rows × input × output | ${names.map((name) => `${name}: ms, CPU ms`).join(' | ')} |\n|---|${names.map(() => '---|').join('')}`,
  );
  for (const text of options.shapes.split(',')) {
    const [rows, depth, columns] = text.split('x').map(Number);
    const cells = new Map(failures);
    const ready = [];
    for (const engine of children)
      await engine.child.call('shape', { rows, depth, columns }).then(
        () => ready.push({ ...engine, times: [] }),
        (error) => cells.set(engine.name, error.message.split('\n')[0]),
      );
    for (let round = 0; round < Number(options.rounds); round++)
      for (const { child, times } of ready)
        times.push(await child.call('time', { repeats: Number(options.repeats) }));
    for (const { name, times } of ready) {
      const least = (of) => Math.min(...times.map(of)).toFixed(1);
      cells.set(name, `${least(({ ms }) => ms)}, ${least(({ cpuMs }) => cpuMs)}`);
    }
    console.log(`| ${[text.replaceAll('x', ' × '), ...names.map((name) => cells.get(name))].join(' | ')} |`);
  }
  process.exit(0);
}
