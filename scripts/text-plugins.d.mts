interface TextPlugin {
  readonly name: string;
  readonly enforce: 'pre';
  load(id: string): Promise<string | undefined>;
}

export const plainShaders: TextPlugin;
export const webAssembly: TextPlugin;
