/** Factor of the update B·A: alpha / rank, or alpha / √rank (rsLoRA, arXiv 2312.03732), which keeps its size as the rank grows. */
export function loraScale({ rank, alpha, rsLora }: { rank: number; alpha: number; rsLora: boolean }): number {
  return alpha / (rsLora ? Math.sqrt(rank) : rank);
}
