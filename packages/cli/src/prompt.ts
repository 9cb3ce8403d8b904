import { alpacaPrompt, chatRenderer, type Tokenizer } from '@lft/data';

/** How a prompt is put before the model, as the rows of a template are. */
export interface PromptForm {
  readonly template: string;
  /** Jinja text in place of the tokenizer's own. */
  readonly chatTemplate?: string | undefined;
}

/** Token ids of a prompt, ready to be continued. */
export function promptIds(tokenizer: Tokenizer, prompt: string, { template, chatTemplate }: PromptForm): number[] {
  if (template === 'chat') {
    const render = chatRenderer(tokenizer, chatTemplate);
    const text = render([{ role: 'user', content: prompt }], { addGenerationPrompt: true });
    return tokenizer.encode(text, { addSpecialTokens: false });
  }
  const text = template === 'alpaca' ? alpacaPrompt({ instruction: prompt }) : prompt;
  return [...tokenizer.startIds, ...tokenizer.encode(text, { addSpecialTokens: false })];
}
