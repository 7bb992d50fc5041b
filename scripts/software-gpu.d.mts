export function chromiumPath(): Promise<string>;
export function vulkanFolder(chromium: string): string | undefined;
export function useVulkanDriver(icd: string, loader?: string): void;
export function useSwiftShader(folder: string): void;
export function pollLessOften(): void;
export const chromiumArgs: string[];
export function fontsFile(folder: string, executablePath: string): string;
