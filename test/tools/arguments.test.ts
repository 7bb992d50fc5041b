// Parsing of the command line's arguments, its help texts, and its progress bars.
import { expect, test } from 'vitest';

const of = <Module>(name: string): Promise<Module> =>
  import(new URL(`../../bin/${name}.mjs`, import.meta.url).href) as Promise<Module>;
const { parse } = await of<{
  parse(argv: string[]): {
    readonly help?: string;
    readonly version?: boolean;
    readonly options?: Readonly<Record<string, unknown>>;
  };
}>('arguments');
const { COMMANDS } = await of<{ COMMANDS: object }>('table');

const embed = ['embed', 'x.png', '--out', 'x.npy'];

test('options have their defaults, and the names of those that were given are known', () => {
  expect(parse([...embed, '--batch', '4', '--no-normalize', '--', '--help'])).toMatchObject({
    name: 'embed',
    positionals: ['x.png', '--help'],
    options: { out: 'x.npy', batch: 4, normalize: false, model: 'facebook/dinov2-small', size: undefined },
    given: new Set(['out', 'batch', 'normalize']),
  });
  expect(parse(['index', 'photos', '--index', 'i']).options).toMatchObject({ resize: 'fit', size: 224 });
});

test.each<[string[], RegExp]>([
  [[], /^expected a command: embed, pca, /],
  [['frobnicate'], /^expected a command \(embed, .*\), found frobnicate\.$/],
  [['--out', 'x.npy', 'embed'], /^expected a command .*Options come after the command\.$/],
  [['help', 'frobnicate'], /^expected a command/],
  [[...embed, '--batch', '0'], /^embed: expected --batch to be a whole number from 1 to 9999, found 0\.$/],
  [[...embed, '--batch', '1e3'], /found 1e3\.$/],
  [
    [...embed, '--pooling', 'max'],
    /^embed: expected --pooling to be cls, mean, cls\+mean or gem, found max\.$/,
  ],
  [[...embed, '--dtype'], /^embed: .*--dtype.* argument missing\.$/],
  [[...embed, '--prune'], /^embed: there is no option --prune\. Its options are --out, /],
  [['embed', '--out', 'x.npy'], /^embed: expected IMAGES…, found nothing\.$/],
  [['embed', 'x.png'], /^embed: expected --out FILE: FILE\.npy/],
  [['similar', 'x.png'], /^similar: expected IMAGE and OTHERS…, found x\.png\.$/],
  [['convert', 'a'], /^convert: expected --dtype TYPE/],
  [['inspect'], /^inspect: expected IN, found nothing\.$/],
  [['inspect', 'a', 'b'], /^inspect: expected IN, found a b\.$/],
])('%j is a mistake', (args, text) => {
  expect(() => parse(args)).toThrow(text);
});

test('--help is an overview, or the help of a command, which fits a terminal of 110 columns', () => {
  const overview = parse(['--help']).help;
  expect(overview).toMatch(/^Usage: npx dinov2-webgpu COMMAND[^]*\nExit codes: 0 done; 1 failed; 2 /);
  for (const name of Object.keys(COMMANDS)) {
    expect(overview).toContain(`\n  ${name} `);
    const { help } = parse([name, 'x', '--nope', '-h']);
    expect(parse(['help', name])).toEqual({ help });
    expect(help).toMatch(
      new RegExp(`^Usage: npx dinov2-webgpu ${name} [^]*\\nExample: npx dinov2-webgpu ${name} `),
    );
    for (const line of help!.split('\n')) expect(line.length, line).toBeLessThan(111);
  }
  expect(parse(['--version'])).toEqual({ version: true });
});

test('a progress bar is drawn at most ten times a second, and finished once', async () => {
  type Bar = (done: number, total?: number) => void;
  const { progressBar } = await of<{
    progressBar(label: string, unit: string, terminal: { shown: boolean; print(text: string): void }): Bar;
  }>('terminal');
  let printed = '';
  const print = (text: string): void => void (printed += text);
  const bar = progressBar('images', ' images', { shown: true, print });
  for (const done of [1, 2, 3, 3]) bar(done, 3);
  expect(printed.split('\r')).toEqual([
    '',
    `\x1b[Kimages ${'█'.repeat(10)}${'░'.repeat(20)}  33 %  1 of 3 images`,
    `\x1b[Kimages ${'█'.repeat(30)} 100 %  3 of 3 images\n`,
  ]);
  progressBar('images', '', { shown: false, print: () => expect.unreachable() })(1, 2);
});
