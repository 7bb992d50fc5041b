import { playwright } from '@vitest/browser-playwright';
import glsl from 'vite-plugin-glsl';
import { defineConfig } from 'vitest/config';
import { chromiumArgs, chromiumPath, vulkanFolder } from './scripts/software-gpu.mjs';

const testing = process.env['VITEST'] !== undefined;
const executablePath = testing ? await chromiumPath() : '';
const swiftShader = testing ? (vulkanFolder(executablePath) ?? '') : '';

/** Tells browser tests, which have no environment, where to leave the name of their adapter. */
const adaptersFolder = {
  name: 'adapters-folder',
  resolveId: (id: string) => (id === 'virtual:adapters-folder' ? `\0${id}` : undefined),
  load: (id: string) => (id === '\0virtual:adapters-folder' ? `export default ${JSON.stringify(process.env['TEST_ADAPTER_FOLDER'] ?? '')}` : undefined),
};

/** Tests that need minutes run only when asked: `npm run test:full`. */
const full = process.env['TEST_FULL'] === '1';

export default defineConfig(({ mode }) => {
  // Shaders reach the library as they are written, so that a compiler's line numbers are true; the published build strips comments.
  const shaders = glsl({ minify: mode === 'library' || mode === 'demo' });
  return {
    plugins: testing ? [shaders, adaptersFolder] : [shaders],
    appType: 'mpa', // a missing file answers 404, not the page
    server: { open: false, host: '127.0.0.1' },
    build:
      mode === 'demo'
        ? { target: 'es2023', outDir: 'dist-demo', assetsInlineLimit: 0, rolldownOptions: { input: 'demo/index.html' } }
        : {
            target: 'es2023',
            sourcemap: true,
            lib: {
              entry: { index: 'src/index.ts', safetensors: 'src/checkpoint/safetensors.ts' },
              formats: ['es'],
            },
          },
    base: mode === 'demo' ? './' : '/',
    test: {
      reporters: ['default'],
      projects: [
        {
          extends: true,
          test: {
            name: 'unit',
            environment: 'node',
            include: ['test/**/*.test.ts'],
            exclude: ['test/**/*.{gpu,full,browser,e2e}.test.ts'],
          },
        },
        {
          extends: true,
          test: {
            name: 'dawn',
            environment: 'node',
            pool: 'forks', // process.env of a worker thread never reaches the Vulkan loader
            include: [full ? 'test/**/*.{gpu,full}.test.ts' : 'test/**/*.gpu.test.ts'],
            setupFiles: ['test/setup-dawn.ts'],
            env: { SWIFTSHADER_DIR: swiftShader },
            testTimeout: 120_000,
            hookTimeout: 120_000,
          },
        },
        {
          extends: true,
          test: {
            name: 'browser',
            include: ['test/**/*.browser.test.ts'],
            testTimeout: 120_000,
            hookTimeout: 120_000,
            browser: {
              enabled: true,
              headless: true,
              screenshotFailures: false,
              provider: playwright({ launchOptions: { executablePath, args: chromiumArgs } }),
              instances: [{ browser: 'chromium' }],
            },
          },
        },
        {
          extends: true,
          test: {
            name: 'demo',
            environment: 'node',
            include: ['test/**/*.e2e.test.ts'],
            env: { CHROMIUM_PATH: executablePath },
            testTimeout: 180_000,
            hookTimeout: 180_000,
          },
        },
      ],
    },
  };
});
