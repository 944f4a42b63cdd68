"""What a person does with the page, done in a real browser."""

import pytest
from browser import browser, installed, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(installed() is None, reason="no chromium on this machine"),
]
CELL = "cell-rate_limit-memory-2-round_robin"
SEEN = """(() => { const e = document.getElementById(%r); const r = e.getBoundingClientRect();
  return e.checkVisibility() && r.height > 0 && r.top < innerHeight && r.bottom > 0; })()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def report(tab, folder):
    """The page, just opened, on a desk."""
    tab.said.clear()
    tab.scripts(on=True)
    tab.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    tab.size(1280, 900)
    tab.open("about:blank")
    tab.open((folder / "report.html").as_uri())
    return tab


@pytest.mark.parametrize("scripts", [True, False], ids=["with its script", "without any script"])
def test_a_red_box_leads_to_its_counter_example(report, scripts):
    report.scripts(on=scripts)
    assert not report.run(SEEN % CELL)
    report.click(f'td.invalid > a[href="#{CELL}"]')
    until(lambda: report.run(SEEN % CELL))
    assert report.run(f"document.querySelector('#{CELL} svg.sequence').getBoundingClientRect().height") > 50
    told = report.run(f"document.querySelector('#{CELL}').innerText")
    assert "broke LimitHolds: 2 grants of c to p were admitted within 8 ms by 2 workers" in told


def test_a_tile_leads_to_the_same_place(report):
    report.click(f'a.tile[href="#{CELL}"]')
    until(lambda: report.run(SEEN % CELL))


def test_the_keyboard_goes_where_the_mouse_does(report):
    report.press("Tab", 9)
    assert report.run("document.activeElement.className") == "skip"
    report.press("Tab", 9)
    assert report.run("document.activeElement.className") == "tile invalid"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert report.run(outline) == "solid"
    report.press("Enter", 13)
    until(lambda: report.run(SEEN % CELL))
    assert report.run("document.activeElement.id") == CELL


def test_a_history_is_one_click_away(report, run):
    cell = next(cell for cell in run.cells if f"cell-{cell.name}" == CELL)
    report.click(f'a.tile[href="#{CELL}"]')
    until(lambda: report.run(SEEN % CELL))
    href = report.run(f"document.querySelector('#{CELL} .files a').href")
    assert href == (run.path / cell.history).as_uri()


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1920])
def test_the_page_never_scrolls_sideways(report, width):
    report.size(width, 800, phone=width < 700)
    assert report.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_on_their_ground(report, scheme):
    report.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    report.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert report.run(FAINT) == []


FAINT = """(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest('svg, script')) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(style.color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) faint.add(`${e.localName}.${e.className} ${ratio.toFixed(2)}`);
  }
  return [...faint];
})()"""


def test_the_page_asks_for_nothing_and_reports_no_error(report, folder):
    page = (folder / "report.html").as_uri()
    assert report.run("document.querySelectorAll('details').forEach(d => { d.open = true; })") is None
    assert {line for line in report.said if "about:blank" not in line} == {f"request: {page[:100]}"}


def test_print_shows_the_whole_matrix(report):
    report.prefer(media="print")
    report.size(1050, 700)
    cut = "[...document.querySelectorAll('.scroll')].some(e => getComputedStyle(e).overflowX !== 'visible')"
    assert report.run(cut) is False
    assert report.run("getComputedStyle(document.querySelector('.skip')).display") == "none"
