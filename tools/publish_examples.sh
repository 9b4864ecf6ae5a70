#!/bin/sh
# Publish a new project of each framework on the branch example-FRAMEWORK of origin, so that people can read one before they
# run anything: sh tools/publish_examples.sh VERSION. Each release is one commit, and `git diff` shows what changed.
set -eu

version=$1
case $version in
    *[a-z]*) echo "$version is a prerelease: the examples stay as they are." && exit 0 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GIT_INDEX_FILE="$folder/index"
for framework in flask fastapi; do
    branch=example-$framework
    project=$folder/$framework
    copier copy --trust --defaults --quiet --vcs-ref="$version" --data="framework=$framework" . "$project"
    sed -i "s|^_src_path: .*|_src_path: $(git remote get-url origin)|" "$project/.copier-answers.yml"
    rm -f "$GIT_INDEX_FILE"
    git --work-tree="$project" add --all
    set -- -m "docs: a new $framework project of version $version"
    if git ls-remote --exit-code --heads origin "$branch" >/dev/null; then
        git fetch --quiet origin "$branch"
        set -- "$@" -p FETCH_HEAD
    fi
    commit=$(git -c user.name="github-actions[bot]" -c user.email="41898282+github-actions[bot]@users.noreply.github.com" \
        commit-tree "$(git write-tree)" "$@")
    git push --quiet origin "$commit:refs/heads/$branch"
done
