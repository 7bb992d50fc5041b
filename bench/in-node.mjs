// Child process of bench.mjs: measures in Node (Dawn), with the toggles in DAWN_FEATURES.
import { installWebGpu } from './adapter.mjs';
import { serve } from './child.mjs';
import { library } from './load-source.mjs';

serve({
  async measure({ adapter, ...options }) {
    await installWebGpu(adapter);
    const { measure } = await library();
    return measure(options, `Node ${process.versions.node} on Dawn`, (news) =>
      process.stderr.write(`${process.env.DAWN_FEATURES ? 'tuned' : 'stock'}: ${news}\n`),
    );
  },
});
