/** The WGSL sources of the kernels, as files of this site. */
const shaders = import.meta.glob<string>('../../shaders/*.wgsl', {
  query: '?raw',
  import: 'default',
});

/**
 * Returns the source of a kernel such as `linear.linear_gelu`.
 * @throws Error if there is no such file, or if it cannot be fetched
 */
export async function sourceOf(kernel: string): Promise<{ file: string; text: string }> {
  const file = `${kernel.split('.')[0]!}.wgsl`;
  const load = shaders[`../../shaders/${file}`];
  if (!load) throw new Error(`There is no shader ${file}.`);
  return { file, text: await load() };
}
