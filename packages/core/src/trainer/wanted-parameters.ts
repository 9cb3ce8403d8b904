import type { Parameter } from '../contracts/parameter.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import type { Wanted } from './loss-gradients.js';

/** Where in the forward pass a site lies: −1 the embedding, its block, or `blocks` for what comes after the blocks. */
export function stageOf(site: { block: number | undefined; kind: string }, blocks: number): number {
  return site.block ?? (site.kind === 'embedding' ? -1 : blocks);
}

/** The parameters with the stages of the sites that they act at. */
export function wantedParameters(model: AdaptedModel, parameters: readonly Parameter[]): Wanted[] {
  const { blocks } = model.base.info;
  const stages = new Map<Parameter, number[]>();
  for (const { site, delta } of model.attachments) {
    for (const parameter of delta.parameters) {
      stages.set(parameter, [...(stages.get(parameter) ?? []), stageOf(site, blocks)]);
    }
  }
  return parameters.map((parameter) => ({ tensor: parameter.variable, stages: stages.get(parameter)! }));
}
