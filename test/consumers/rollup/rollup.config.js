import { nodeResolve } from '@rollup/plugin-node-resolve';

export default {
  // The worker's file is an entry of its own, in the folder of the page's files, under the same name.
  input: { main: 'main.js', 'worker-thread': 'node_modules/dinov2-webgpu/dist/worker-thread.js' },
  output: { dir: 'dist', format: 'es' },
  plugins: [nodeResolve()],
};
