# bash completion for welcomed

_welcomed() {
    local cur='' i word line paths='' joined=''
    local -a words=()
    # bash takes words apart at = and :, welcomed does not.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ ${#words[@]} -gt 0 && ( $joined || $word == [=:] ) ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == [=:] ]] && joined=1 || joined=''
    done
    cur=${words[${#words[@]}-1]}

    # What readline replaces begins behind the last of them.
    local kept=''
    case $cur in *[=:]*) kept=${cur%"${cur##*[=:]}"} ;; esac

    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $paths == '' ]]; then
            paths=${line:-none}
        else
            line=${line%%$'\t'*}
            COMPREPLY+=("${line#"$kept"}")
        fi
    done < <("${COMP_WORDS[0]/#\~/$HOME}" completion words "${words[@]}" 2>/dev/null)

    case $paths in
    files) compopt -o default 2>/dev/null ;;
    directories) compopt -o dirnames 2>/dev/null ;;
    esac
}

complete -F _welcomed welcomed
