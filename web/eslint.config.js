import js from "@eslint/js";
import svelte from "eslint-plugin-svelte";
import globals from "globals";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist/", "node_modules/", "test-results/", "testdata/"] },
  js.configs.recommended,
  ...ts.configs.strict,
  ...svelte.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.node } },
    rules: {
      "no-undef": "off", // tsc knows better
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      // Typed arrays and checked bounds: the hot loops say what they know with `!`.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      eqeqeq: ["error", "always"],
    },
  },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: ts.parser } },
  },
  {
    // The picture is made of plain values: neither framework nor document.
    files: ["src/{wire,model,scene}/**/*.ts"],
    rules: {
      "no-restricted-globals": ["error", "document", "window", "localStorage", "performance", "Date"],
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: ["svelte", "svelte/*", "*/draw/*", "*/ui/*", "*/pages/*", "*/net/*"] }] },
      ],
    },
  },
);
