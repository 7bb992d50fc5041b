/** Vitest configuration: the projects of the test suite. */
import { playwright } from '@vitest/browser-playwright';
import { availableParallelism } from 'node:os';
import type { ViteUserConfig } from 'vitest/config';
import { firefoxProvider } from './firefox.ts';
import { chromiumArgs, chromiumPath, vulkanFolder } from '../software-gpu.mjs';

const executablePath = process.env['VITEST'] === undefined ? '' : await chromiumPath();
const swiftShader = executablePath === '' ? '' : (vulkanFolder(executablePath) ?? '');

/** True if tests that take minutes run too: `npm run test:full`. */
const full = process.env['TEST_FULL'] === '1';
/** True if tests in Firefox run too: `npm run test:firefox`. `npm test` does not install Firefox. */
const firefox = process.env['TEST_FIREFOX'] === '1';

/**
 * Tells browser tests, which have no environment variables, in which folder they record their adapters'
 * names.
 */
export const adaptersFolder = {
  name: 'adapters-folder',
  resolveId: (id: string) => (id === 'virtual:adapters-folder' ? `\0${id}` : undefined),
  load: (id: string) =>
    id === '\0virtual:adapters-folder'
      ? `export default ${JSON.stringify(process.env['TEST_ADAPTER_FOLDER'] ?? '')}`
      : undefined,
};

export const tests: NonNullable<ViteUserConfig['test']> = {
  reporters: ['default'],
  // The default of one second is too short while a compiler keeps the machine busy.
  expect: { poll: { timeout: 30_000 } },
  maxWorkers: Math.max(2, availableParallelism() - 1), // at least two: each compiles shaders on one core
  projects: [
    {
      extends: true,
      test: {
        name: 'unit',
        environment: 'node',
        // Starting a process for each file would take a third of the tests' time. test/setup-unit.ts checks
        // the global state.
        isolate: false,
        setupFiles: ['test/setup-unit.ts'],
        include: ['test/**/*.test.ts'],
        exclude: ['test/**/*.{gpu,full,browser,full-browser,e2e,full-e2e,firefox}.test.ts'],
        testTimeout: 60_000, // the race detector interprets every kernel once per barrier
      },
    },
    {
      extends: true,
      test: {
        name: 'dawn',
        environment: 'node',
        pool: 'forks', // the Vulkan loader does not see process.env of a worker thread
        // Files share Dawn and its compiled pipelines. test/setup-dawn.ts checks the global state.
        isolate: false,
        include: [full ? 'test/**/*.{gpu,full}.test.ts' : 'test/**/*.gpu.test.ts'],
        setupFiles: ['test/setup-dawn.ts'],
        env: { SWIFTSHADER_DIR: swiftShader },
        testTimeout: 600_000, // lavapipe compiles for seconds, and two files at once share two cores
        hookTimeout: 600_000,
      },
    },
    {
      extends: true,
      test: {
        name: 'browser',
        include: [full ? 'test/**/*.{browser,full-browser}.test.ts' : 'test/**/*.browser.test.ts'],
        provide: { full },
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
    ...(firefox
      ? [
          {
            extends: true as const,
            test: {
              name: 'firefox',
              environment: 'node' as const,
              include: ['test/**/*.firefox.test.ts'],
              globalSetup: ['test/builds.ts'],
              // lavapipe compiles every tile in one test: for 60 s, and for more than 120 s on a slow machine.
              testTimeout: 600_000,
              hookTimeout: 600_000,
            },
          },
          {
            extends: true as const,
            test: {
              name: 'firefox-pages',
              // Each call of the storage made to fail takes more than five minutes in Firefox.
              include: [
                `test/search/store/${full ? '*' : '{journal,faults,damage}'}.{browser,full-browser}.test.ts`,
              ],
              provide: { full },
              testTimeout: 120_000,
              hookTimeout: 120_000,
              browser: {
                enabled: true,
                headless: true,
                screenshotFailures: false,
                provider: firefoxProvider(),
                instances: [{ browser: 'firefox' as const }],
              },
            },
          },
        ]
      : []),
    {
      extends: true,
      test: {
        name: 'demo',
        environment: 'node',
        include: [full ? 'test/**/*.{e2e,full-e2e}.test.ts' : 'test/**/*.e2e.test.ts'],
        env: { CHROMIUM_PATH: executablePath },
        globalSetup: ['test/builds.ts', 'test/chromium.ts'],
        testTimeout: 180_000,
        hookTimeout: 180_000,
      },
    },
  ],
};
