"""Render the documentation site into `_docs` and `README.md` from the notebooks, without Quarto's own program.

nbdev processes the notebooks as it does for Quarto (docments tables, links from back-ticked symbols); smalldocs then renders the
same `_quarto.yml`. Here is only what the two leave open: file names, links to our own pages, to arXiv and to Colab, where the tables of
parameters stand, folded imports, and KaTeX without a network.
"""
import ast
import json
import re
import subprocess
import sys
import zipfile
from base64 import b64decode
from dataclasses import is_dataclass
from importlib import import_module
from inspect import Parameter, formatannotation
from pathlib import Path, PurePosixPath
from typing import Annotated, get_origin

import nbdev.processors
import nbdev.showdoc
from execnb.nbio import mk_cell, read_nb
from fastcore.docments import DocmentText
from fastcore.script import Param, call_parse
from nbdev.config import get_config
from nbdev.process import Processor
from nbdev.processors import FilterDefaults
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
from nbdev.showdoc import BasicMarkdownRenderer
from smalldocs import config, layout, site

from faceshifter._modidx import d as modidx

# A Python package that carries KaTeX 0.16.40 (MIT). Its files are taken out of the wheel; installed, it would bring Django.
KATEX = "djangocms-katex==1.0.2"
# nbdev writes `output-file` for Quarto; smalldocs warns that it does not read it, and NotebookSite below reads it.
EXPLAINED = re.compile(r"\.ipynb: output-file is not read by smalldocs$")


def katex(
    folder: Path,  # where to keep the files; a folder that is there already is taken as complete
) -> Path:  # the folder with katex.min.js, katex.min.css, fonts and contrib/auto-render.min.js
    "Fetch KaTeX once, from the package index that pip is configured for."
    if folder.exists(): return folder
    wheels = folder.with_suffix(".download")
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, KATEX], check=True)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            path = name.partition("vendor/katex/")[2]
            if re.fullmatch(r"LICENSE|katex\.min\.(js|css)|contrib/auto-render\.min\.js|fonts/.*\.woff2", path):
                target = wheels / "katex" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wheel.read(name))
    return (wheels / "katex").rename(folder)


class Signature(DocmentText):
    "A signature without its comments, which `DocmentsTable` shows below it, and without the names of modules."
    def __init__(self, sym, **kwargs):
        super().__init__(from_library(sym), **kwargs)
        # Every fastai callback takes its events as arguments, which nobody gives.
        self.dm = {name: about for name, about in self.dm.items() if not (name.startswith(("before_", "after_")) and about["default"] is None)}
        for about in self.dm.values():
            if get_origin(about["anno"]) is Annotated:  # typer's options: the type, and the help as its explanation
                about["anno"], option = about["anno"].__origin__, about["anno"].__metadata__[0]
                about["docment"] = getattr(option, "help", None)

    @property
    def params(self): return [(without_modules(text), "") for text, _ in super().params]

    @property
    def _ret_str(self): return without_modules(super()._ret_str.partition(" # ")[0])


def from_library(sym):
    "The library's own object in the place of a dataclass that a cell defined, whose source, with the explanations, nobody finds."
    if not is_dataclass(sym): return sym
    for module, names in modidx["syms"].items():
        if f"{module}.{sym.__name__}" in names: return getattr(import_module(module), sym.__name__)
    return sym


def without_modules(text: str) -> str:
    "Names without the modules they come from."
    return re.sub(r"(?<![\w./'-])(\w+\.)+(?=[A-Z])", "", text)


def options_as_code(text: str) -> str:
    "Options as they are typed; as plain text `--` would become a dash."
    return text if "`" in text else re.sub(r"--\w[\w-]*", r"`\g<0>`", text)


def examples(docs: str) -> str:
    "Lines of a command's help that are commands themselves, as code."
    return "\n".join("    " + line if line.startswith("faceshifter ") else options_as_code(line) for line in docs.splitlines())


def type_name(annotation) -> str:
    "The name of a type, without the modules it comes from."
    return re.sub(r"\b(\w+\.)+", "", annotation if isinstance(annotation, str) else formatannotation(annotation))


class DocmentsTable(BasicMarkdownRenderer):
    """nbdev's documentation of a symbol, with the parameters as a table, so that their formulas and links are rendered.

    The name of a parameter is no back-ticked symbol: nbdev would link it to whatever else has that name.
    """
    def __init__(self, sym, **kwargs):
        super().__init__(sym, **kwargs)
        self.dm = Signature(self.sym, docstring=False)
        self.docs = examples(self.docs or "")

    def _repr_markdown_(self) -> str:
        def cell(value): return value.replace("|", r"\|").replace("\n", " ")
        rows = []
        for name, about in self.dm.dm.items():
            kind = "" if about["anno"] is Parameter.empty else f"`{type_name(about['anno'])}`"
            if about.get("docment"): rows.append(["**returns**" if name == "return" else f"<code>{name}</code>", kind, options_as_code(about["docment"])])
        lines = ["| ".join(["", *map(cell, row), ""]) for row in [["", "type", "what it is"], ["-"] * 3, *rows]]
        return super()._repr_markdown_() + ("\n\n" + "\n".join(lines) + "\n" if rows else "")


nbdev.showdoc.BasicMarkdownRenderer = DocmentsTable  # here, because each worker of nbdev imports this file anew


# A link, code or formula, which stays as it is; or one or several arXiv ids: `arXiv 1705.02894, 1802.05957`.
ARXIV = re.compile(r"(\[[^\]]*\]\([^)]*\)|`[^`]*`|\$[^$]*\$)|\barXiv[ :]\d{4}\.\d{4,5}(?:(?:, | and )\d{4}\.\d{4,5})*")


def link_arxiv(markdown: str) -> str:
    "Link the arXiv ids of a text."
    def link(found): return found[1] or re.sub(r"(arXiv[ :])?(\d{4}\.\d{4,5})", r"[\g<0>](https://arxiv.org/abs/\2)", found[0])
    return ARXIV.sub(link, markdown)


class ReadableCode(Processor):
    """The code beside its sentence: what documents an `exports` cell moves to a reference at the page's end; imports are folded;
    a picture without alt text or caption gets the sentence before it, which says what is to be seen.

    It takes the place of nbdev's `mv_exports`, which puts the table of parameters before the code.
    """
    def begin(self):
        reference, kept, sentence = [], [], ""
        for cell in self.nb.cells:
            if cell.cell_type == "code" and cell.get("source") and only_imports(cell.source) and "exports" not in cell.directives_:
                cell.source = '#| code-fold: true\n#| code-summary: "Imports"\n' + cell.source
            if cell.cell_type == "markdown" and cell.get("source"): sentence = last_sentence(text(cell.source)) or sentence
            pictures = any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {}))
            if pictures and cell.get("source") and not re.search(r"fig-alt:", cell.source):
                cell.source = f"#| fig-alt: {json.dumps(sentence, ensure_ascii=False)}\n{cell.source}"
            (reference if getattr(cell, "has_sd", 0) and kept and kept[-1].cell_type == "code" and "exports" in kept[-1].directives_ else kept).append(cell)
        for cell in kept + reference:
            if cell.cell_type == "markdown" and cell.get("source"): cell.source = link_arxiv(text(cell.source))
            for output in cell.get("outputs", []):
                if markdown := output.get("data", {}).get("text/markdown"):
                    # In the reference a heading's level keeps the symbol out of the table of contents, which lists the lesson.
                    output["data"]["text/markdown"] = re.sub(r"^### ", "#### " if cell in reference else "### ", link_arxiv(text(markdown)), flags=re.M)
        self.nb.cells = kept + ([mk_cell("## Reference", "markdown"), *reference] if reference else [])


def last_sentence(markdown: str) -> str:  # plain text, at most 200 characters
    "The last sentence of a text that has neither formulas nor tables."
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"\$[^$]*\$|[`*#>]|^\|.*$", "", markdown, flags=re.M))
    return (re.split(r"(?<=[.:?]) +|\n+", plain.strip())[-1] if plain.strip() else "")[:200].strip()


def only_imports(source: str) -> bool:
    "Is this code nothing but imports?"
    try: body = ast.parse(source).body
    except SyntaxError: return False
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def add_fold(cell):
    "Show exported code as other code is shown, without nbdev's 'Exported source' above it."


nbdev.processors.mv_exports, nbdev.processors.add_fold = ReadableCode, add_fold
# What the library keeps to itself is still part of the lesson: its code stays on the page.
nbdev.processors._hide_dirs = nbdev.processors._hide_dirs - {"exporti"}


class NotebookSite(site.Site):
    "A smalldocs site whose pages are notebooks that nbdev processed: Quarto's file names, nbdev's links."

    def read(self, src: PurePosixPath) -> site.Page:
        "Give a page the file name that nbdev's links expect: `04_gan.ipynb` becomes `gan.html`."
        page = super().read(src)
        page.out = page.src.with_name(page.front.get("output-file", page.out.name))
        cfg = get_config()
        colab = f"https://colab.research.google.com/github/{cfg.user}/{cfg.repo}/blob/{cfg.branch}/{cfg.nbs_path.name}/{page.src}"
        page.meta["code-links"] = [{"text": "Open in Colab", "icon": "play-circle", "href": colab}]
        return page

    def find_page(self, target: PurePosixPath) -> site.Page | None:
        "Find a page by its source, or by its file name in the site."
        return super().find_page(target) or next((page for page in self.pages.values() if page.out == target), None)

    def resolve(self, href: str, page: site.Page | None, record: bool = True) -> str:
        "Make a link to the published site, which nbdev writes for our own symbols, a relative one."
        home = str(self.project.website["site-url"]).rstrip("/")
        return super().resolve(href.removeprefix(home) if href.startswith(home + "/") else href, page, record)


def processed() -> Path:  # the folder of the processed notebooks
    "Process the notebooks that changed, with nbdev, and forget those that are gone."
    nbs = get_config().nbs_path
    refresh_quarto_yml()
    folder = proc_nbs(nbs)
    for page in folder.rglob("*.ipynb"):
        if not (nbs / page.relative_to(folder)).exists(): page.unlink()
    return folder


def render() -> list[str]:  # what is wrong with the site, one line each
    "Render the whole site into `_docs`."
    root = get_config().config_path
    docs = NotebookSite(config.load(processed()))
    docs.out = get_config().doc_path
    docs.build()
    libs = PurePosixPath("site_libs/katex")
    for source in (files := katex(root / ".katex")).rglob("*"):
        if not source.is_file(): continue
        target = docs.out / libs / source.relative_to(files)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for page in docs.pages.values():
        html = docs.out / page.out
        html.write_text(html.read_text(encoding="utf-8").replace(layout.KATEX, site.rel(libs, page)), encoding="utf-8")
    unlink_missing(docs.out)
    return [warning for warning in docs.warnings if not EXPLAINED.search(warning)]


def unlink_missing(folder: Path) -> None:
    "nbdev links every back-ticked symbol; where the page shows its code and no table, there is no anchor, and the link goes to the page."
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    anchors = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', html)) for path, html in pages.items()}
    for path, html in pages.items():
        def mend(link: re.Match) -> str:
            file = (path.parent / link[2]).resolve() if link[2] else path
            if file not in pages or link[3] in anchors[file]: return link[0]
            return f'{link[1]}{link[2] or path.name}"'
        mended = re.sub(r'(<a [^>]*?href=")([^":#]*)#([^"]+)"', mend, html)
        if mended != html: path.write_text(mended, encoding="utf-8")


def text(value: str | list) -> str:  # one string
    "Join what a notebook stores as lines."
    return value if isinstance(value, str) else "".join(value)


def readme() -> dict[Path, bytes]:  # file: content
    "Write `index.ipynb` as `README.md`, with links and pictures that work from the top of the repository."
    cfg = get_config()
    nbs = cfg.nbs_path.relative_to(cfg.config_path)
    nb = read_nb(cfg.nbs_path / cfg.readme_nb)
    FilterDefaults()(nb)
    files, parts = {}, []
    for cell in nb.cells:
        source = text(cell.get("source") or "").strip()
        if cell.cell_type == "raw" and (title := re.search(r"^title: (.*)$", source, re.M)):
            parts.append(f"# {title[1]}")
            if about := nb.frontmatter_.get("description"): parts.append(f"> {about}")
        elif cell.cell_type == "markdown":
            parts.append(re.sub(r"(\]\()(?!\w+:|#|/)", rf"\1{nbs}/", source))
        elif cell.cell_type == "code":
            code = re.sub(r"^#\|.*\n?", "", source, flags=re.M).strip()
            if code and "echo: false" not in source: parts.append(f"```python\n{code}\n```")
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if svg := data.get("image/svg+xml"):
                    path = Path("index_files") / f"figure-{len(files) + 1}.svg"
                    title = re.search(r"<title>(.*?)</title>", text(svg))
                    files[cfg.config_path / path] = text(svg).encode()
                    parts.append(f"![{title[1] if title else ''}]({path})")
                elif png := data.get("image/png"):
                    path = Path("index_files") / f"figure-{len(files) + 1}.png"
                    files[cfg.config_path / path] = b64decode(text(png))
                    alt = re.search(r'^#\| fig-alt: "(.*)"', source, re.M)
                    parts.append(f"![{alt[1] if alt else ''}]({path})")
                elif markdown := data.get("text/markdown"): parts.append(text(markdown).strip())
                elif "text/html" in data: parts.append(f"*On the [site]({cfg.doc_host}{cfg.doc_baseurl}) this figure has sliders.*")
                elif plain := output.get("text") or data.get("text/plain"): parts.append(f"```\n{text(plain).rstrip()}\n```")
    return {cfg.config_path / "README.md": ("\n\n".join(filter(None, parts)) + "\n").encode(), **files}


@call_parse
def main(what: Param("site: render `_docs`; readme: write README.md; check-readme: compare it", str, choices=["site", "readme", "check-readme"])):
    "Render the site or the README."
    if what == "site":
        if warnings := render(): sys.exit("\n".join(["The site has these faults:", *warnings]))
        return
    for path, content in readme().items():
        if what == "readme":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        elif not path.exists() or path.read_bytes() != content:
            sys.exit(f"{path.name} is not what nbs/index.ipynb gives: run `make prepare` and commit it")
